"""What the examples share: training a model and printing each head's score."""

import argparse

import keras

from keras_ffl import data


def normalised_digits():
    """Scikit-learn's digits.

    Returns:
        Tuple of their `keras_ffl.data.DatasetInfo` and, for training and for
        testing, a tuple of normalised images and integer labels.
    """
    digits = data.load("digits")
    train = data.normalize(digits.x_train, digits.info), digits.y_train
    test = data.normalize(digits.x_test, digits.info), digits.y_test
    return digits.info, train, test


def trained(model, train, test, epochs, metric, batch_size=64, rate=2e-3):
    """Trains a model with AdamW and a cosine schedule, and prints its heads.

    Args:
        model: A method of keras_ffl with one metric for every head.
        train: Tuple of images and labels.
        test: The same.
        epochs: Int >= 1.
        metric: Metric or name of one, for every head.
        batch_size: Int >= 1.
        rate: Float > 0, the learning rate at the start.

    Returns:
        Dict from head to the metric's value on `test`.
    """
    steps = epochs * -(-len(train[0]) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    model.compile(optimizer, metrics=[metric])
    model.fit(*train, batch_size, epochs=epochs, verbose=0)
    logs = model.evaluate(*test, verbose=0, return_dict=True)
    name = metric if isinstance(metric, str) else metric.__name__
    scores = {
        head: logs[f"{head}_{name}" if len(model.heads) > 1 else name]
        for head in model.heads
    }
    for head, score in scores.items():
        print(f"{head:10s} {name} {score:.4f}")
    return scores


def run(main):
    """Calls an example with the flags --seed and --epochs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    main(**vars(parser.parse_args()))
