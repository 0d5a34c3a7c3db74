"""A run from its configuration to its results.

The only module that knows all the others: data, method, optimizer and
callbacks come together here.
"""

import contextlib
import importlib.metadata
import time

import keras

import keras_ffl
from keras_ffl import data
from keras_ffl.builders import find_method
from keras_ffl.callbacks import Checkpoints, StopOnDivergence
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.models import count_multiply_adds, count_parameters
from keras_ffl.optimizers import SGD
from keras_ffl.schedules import Cosine, Steps
from keras_ffl.visualization import plot_curves
from keras_ffl.workdir import Workdir

_PACKAGES = ("tensorflow", "keras", "numpy")


def train(config, workdir, verbose=1):
    """Trains, evaluates and documents a run; goes on where it stopped.

    Args:
        config: `keras_ffl.config.Config`.
        workdir: Path of the run's folder. If it holds a run of the same
            configuration, the run is taken up after its last checkpoint.
        verbose: 0 for silence, 1 for progress bars, 2 for a line an epoch.

    Returns:
        Dict, the content of `metrics.json`.

    Raises:
        InputError: The configuration, the data or the folder is no good.
        TrainingDiverged: The loss became NaN or infinite.
    """
    with _settings(config):
        return _train(config, Workdir(workdir), verbose)


@contextlib.contextmanager
def _settings(config):
    """The global settings of a run; the dtype policy is put back after."""
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _train(config, folder, verbose):
    find_method(config)
    folder.check(config)
    dataset, holdout = load_data(config)
    model, done = folder.load_checkpoint()
    if model is None:
        model = build_model(config, dataset.info)
    arguments = _fit_arguments(config, dataset, holdout, done)
    # From here on the folder belongs to this configuration.
    folder.start(config, dataset.info)
    folder.cut_to(done)
    if done == config.epochs and folder.finished(done):
        return folder.read_metrics()
    seconds = None
    if done < config.epochs:
        if done and verbose:
            print(f"{folder.path}: going on after epoch {done}", flush=True)
        started = time.monotonic()
        _fit(model, config, folder, arguments, verbose)
        seconds = (time.monotonic() - started) / (config.epochs - done)
    metrics = _results(model, config, folder, dataset, seconds, verbose)
    folder.write_metrics(metrics)
    return metrics


# ----- parts of a run ----------------------------------------------------


def load_data(config):
    """The data set of a configuration and its held-out part.

    Args:
        config: `keras_ffl.config.Config`.

    Returns:
        Tuple of a `keras_ffl.data.Dataset`, whose training split lacks the
        held-out part, and the held-out `(images, labels)` or None.

    Raises:
        InputError: The data set is unknown or can't be loaded.
    """
    dataset = data.load(config.dataset, config.data_dir)
    if not config.holdout:
        return dataset, None
    dataset, x, y = data.split_holdout(dataset, config.holdout)
    return dataset, (x, y)


def build_model(config, info):
    """The compiled model of a configuration.

    Args:
        config: `keras_ffl.config.Config`.
        info: `keras_ffl.data.DatasetInfo`.

    Returns:
        Compiled `keras_ffl.methods.TrainingMethod`.

    Raises:
        InputError: The method or a network is unknown, or the options don't
            fit together.
    """
    method = find_method(config)
    model = method.build(config, info.num_classes, info.input_shape)
    model.compile(
        optimizer=SGD(
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            weight_decay_groups={"fusion": config.fusion_weight_decay},
            global_clipnorm=config.global_clipnorm,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
        ),
        metrics=["accuracy"],
    )
    return model


def _augmentation(config, info):
    return data.Augmentation(
        pad=config.pad,
        padding=config.padding,
        flip=info.flip if config.flip is None else config.flip,
        cutout=config.cutout,
        randaugment=config.randaugment,
        mixup=config.mixup,
        cutmix=config.cutmix,
    )


def _learning_rate(config):
    if config.lr_schedule == "cosine":
        return Cosine(config.learning_rate, config.epochs)
    return Steps(config.learning_rate, config.lr_milestones, config.lr_factor)


def _fit_arguments(config, dataset, holdout, done):
    """What `fit` is given besides its callbacks and the learning rate's."""
    info = dataset.info
    augmentation = _augmentation(config, info)
    train_batches = data.training_batches(
        dataset.x_train,
        dataset.y_train,
        info,
        config.batch_size,
        config.seed,
        augmentation,
        initial_epoch=done,
        epochs=config.epochs,
    )
    steps = data.steps_per_epoch(len(dataset.x_train), config.batch_size)
    x, y = holdout or (dataset.x_test, dataset.y_test)
    validation = data.evaluation_batches(
        x, y, info, config.eval_batch_size, one_hot=augmentation.mixes_labels
    )
    return {
        "x": train_batches,
        "steps_per_epoch": steps,
        "initial_epoch": done,
        "epochs": config.epochs,
        "validation_data": validation,
        "shuffle": False,  # The batches come shuffled.
        "callbacks": [
            keras.callbacks.LearningRateScheduler(_learning_rate(config)),
            StopOnDivergence(steps),
        ],
    }


def _fit(model, config, folder, arguments, verbose):
    monitor = _monitored_accuracy(model)
    best = _best_row(folder)
    history = keras.callbacks.CSVLogger(folder.history, append=True)
    try:
        model.fit(
            **{
                **arguments,
                "callbacks": [
                    *arguments["callbacks"],
                    # The history is written before the checkpoint: what is
                    # ahead of it when a run dies is cut off when it goes on.
                    history,
                    keras.callbacks.TensorBoard(folder.logs, write_graph=False),
                    Checkpoints(
                        folder,
                        monitor,
                        best and best[monitor],
                        config.keep_checkpoints,
                    ),
                ],
            },
            verbose=verbose,
        )
    finally:
        # Keras closes the file only when training comes to its end.
        if history.csv_file:
            history.csv_file.close()


def _monitored_accuracy(model):
    """Name under which `fit` logs the accuracy that decides what is best."""
    if len(model.heads) == 1:
        return "val_accuracy"
    return f"val_{model.primary_head}_accuracy"


def _best_row(folder):
    """The row of the history that the best checkpoint belongs to, or None."""
    epochs = folder.best_epochs()
    rows = {int(row["epoch"]) + 1: row for row in folder.read_history()}
    return rows.get(epochs)


def _results(model, config, folder, dataset, seconds, verbose):
    """The content of `metrics.json`, of the last epoch's model."""
    batches = data.evaluation_batches(
        dataset.x_test, dataset.y_test, dataset.info, config.eval_batch_size
    )
    history = folder.read_history()
    if history:
        plot_curves(history, folder.curves)
    monitor = _monitored_accuracy(model)
    best = _best_row(folder)
    return {
        "heads": evaluate_heads(model, batches, dataset.y_test, verbose),
        "best": best
        and {
            "head": model.primary_head,
            "split": "holdout" if config.holdout else "test",
            "epoch": int(best["epoch"]) + 1,
            "top1_error": round(100 * (1 - best[monitor]), 4),
        },
        "split": "test",
        "epoch": config.epochs,
        "steps": int(model.optimizer.iterations),
        "seed": config.seed,
        "method": config.method,
        "dataset": config.dataset,
        "networks": list(config.networks),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "seconds_per_epoch": seconds,
        "versions": {
            "keras_ffl": keras_ffl.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }
