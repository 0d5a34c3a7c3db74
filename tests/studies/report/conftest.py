"""Small runs as training leaves them, without the training."""

import keras
import numpy as np
import pytest

from keras_ffl import data, presets, training
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.workdir import Workdir


def _history(model, epochs=3):
    """Rows of a history of a model, with values that fall."""
    terms = [f"ce_{head}" for head in model.trained_heads]
    if len(model.trained_heads) > 1:
        terms += ["ekd", "fkd", "distillation_weight"]
    several = len(model.heads) > 1
    accuracies = [
        f"{head}_accuracy" if several else "accuracy" for head in model.heads
    ]
    columns = [*accuracies, *terms, "loss"]
    header = ["epoch", *columns, "learning_rate"]
    header += [f"val_{column}" for column in columns]
    rows = [",".join(header)]
    for epoch in range(epochs):
        values = [0.5 ** (epoch + 1 + i / 10) for i in range(len(columns))]
        row = [epoch, *values, 0.1, *(1.1 * value for value in values)]
        rows.append(",".join(map(str, row)))
    return "\n".join(rows) + "\n"


def make_run(path, preset, dataset):
    """A finished run of an untrained network on some of the digits."""
    config = presets.preset(preset)
    folder = Workdir(path)
    folder.check(config)
    folder.start(config, dataset.info)
    keras.utils.set_random_seed(1)
    model = training.build_model(config, dataset.info)
    rng = np.random.default_rng(2)
    for weight in model.trainable_weights:
        # Wild enough that every class is predicted somewhere.
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    model.optimizer.build(model.trainable_variables)
    folder.save_checkpoint(model, config.epochs, keep=1)
    folder.history.write_text(_history(model))
    heads = evaluate_heads(model, dataset.evaluation_batches(), dataset.y_test)
    folder.write_metrics(
        {
            "heads": heads,
            "epoch": config.epochs,
            "seed": 0,
            "parameters": 1,
            "multiply_adds": 1,
            "seconds_per_epoch": 1.5,
            "versions": {"keras": "3.15.1"},
        }
    )
    return folder


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def ffl_run(tmp_path_factory, digits):
    return make_run(tmp_path_factory.mktemp("ffl"), "quickstart", digits)


@pytest.fixture(scope="session")
def vanilla_run(tmp_path_factory, digits):
    path = tmp_path_factory.mktemp("vanilla")
    return make_run(path, "quickstart_vanilla", digits)
