"""Several seeds trained at once on JAX, and each one alone.

    KERAS_BACKEND=jax python tests/backend/seeds.py FOLDER SCENARIO ...

runs some of `SCENARIOS`, functions of a folder for their runs, on tiny models
of `builders.METHODS`. What an error says is printed.
"""

import dataclasses
import pathlib
import sys

import keras
import numpy as np
from steps import builders

from keras_ffl import training
from keras_ffl.config import Config
from keras_ffl.data import from_arrays
from keras_ffl.errors import FFLError
from keras_ffl.optimizers import SGD
from keras_ffl.reproduction.cells import configuration_name

SEEDS = (0, 7, 8)
CONFIG = Config(
    method="vanilla",
    dataset="digits",
    epochs=3,
    batch_size=4,
    learning_rate=0.05,
    weight_decay=1e-2,
    lr_milestones=(1, 2),
    rampup_epochs=2,
    pad=1,
    flip=True,
)
# No second epoch fits.
BRIEFLY = {"max_minutes": 1e-9}


def dataset():
    """14 images: an epoch has three batches of 4 and one of 2."""
    x, y = builders.data(24)
    x = np.clip(60 * x + 120, 0, 255).astype("uint8")
    return from_arrays(x[:14], y[:14], x[14:], y[14:], num_classes=3)


def use_tiny_models(method, broken=None):
    """Lets runs train a method of the builders.

    Args:
        method: Str.
        broken: A seed whose model has a NaN among its weights.
    """

    def build(config, info):
        model = builders.METHODS[method]()
        model.rampup_epochs = config.rampup_epochs
        model.compile(
            SGD(
                config.learning_rate,
                weight_decay=config.weight_decay,
                global_clipnorm=config.global_clipnorm,
            ),
            metrics=["accuracy"],
        )
        if config.seed == broken:
            weight = model.trainable_variables[-1]
            weight.assign(np.full(weight.shape, np.nan))
        return model

    for module in (training.single, training.seeds):
        module.build_model = build
        module.load_data = lambda *arguments: (dataset(), None)


def at_once(folder, config=CONFIG, seeds=SEEDS, **options):
    """Trains the seeds at once, as cells; an error is printed."""
    try:
        return training.train_seeds(
            config, seeds, folder / configuration_name(config), 0, **options
        )
    except FFLError as error:
        print(f"{type(error).__name__}: {error}")


def cell(folder, config, seed):
    """Folder of a seed that `at_once` trains, and its configuration."""
    path = folder / configuration_name(config)
    config = dataclasses.replace(config, seed=seed)
    return pathlib.Path(training.workdir_of_seed(path, seed)), config


def compare(method, config=CONFIG):
    """A scenario: the seeds at once, and the last one alone."""

    def run(folder):
        use_tiny_models(method)
        at_once(folder, config)
        path, own = cell(folder / "alone", config, SEEDS[-1])
        training.train(own, path, verbose=0)

    return run


def interrupted(folder):
    """Boxes of time; in one of them, a death between the checkpoints."""
    use_tiny_models("ffl")
    at_once(folder / "whole")
    at_once(folder, **BRIEFLY)
    path, _ = cell(folder, CONFIG, 7)
    # Its history has the row already, as it would.
    (path / "checkpoints" / "epoch_0001.keras").unlink()
    for _ in range(2):
        at_once(folder, **BRIEFLY)
    (path / "checkpoints" / "epoch_0002.keras").unlink()
    # A file that can't be read counts as none.
    path, _ = cell(folder, CONFIG, 8)
    (path / "checkpoints" / "epoch_0002.keras").write_bytes(b"damaged")
    at_once(folder)
    # All are finished: nothing is trained.
    before = (path / "metrics.json").stat().st_mtime_ns
    found = at_once(folder, seeds=(8, 0))
    assert before == (path / "metrics.json").stat().st_mtime_ns
    assert list(found) == [8, 0]


def go_on_alone(folder):
    """A seed that was trained with others goes on by itself."""
    use_tiny_models("ffl")
    at_once(folder / "whole")
    at_once(folder, **BRIEFLY)
    path, config = cell(folder, CONFIG, 7)
    training.train(config, path, verbose=0)
    # The others don't wait for it.
    at_once(folder)


def apart(folder):
    """Seeds that have trained for different numbers of epochs."""
    use_tiny_models("vanilla")
    for _ in range(2):
        at_once(folder, seeds=(0,), **BRIEFLY)
    at_once(folder, seeds=(0, 7))
    assert not cell(folder, CONFIG, 7)[0].joinpath("config.json").exists()
    at_once(folder, seeds=(7,), **BRIEFLY)
    at_once(folder, seeds=(0, 7))


def diverging(folder):
    """One of the seeds is broken from the start."""
    use_tiny_models("vanilla", broken=7)
    at_once(folder)
    at_once(folder, seeds=(0, 8))


def refused(folder):
    """What can't be trained so."""
    use_tiny_models("vanilla")
    at_once(folder, seeds=())
    at_once(folder, seeds=(3, 3))
    at_once(folder, seeds=(-1,))
    at_once(folder, dataclasses.replace(CONFIG, warmup_epochs=1.0))
    at_once(folder, strategy="mirrored")
    for module in (training.single, training.seeds):
        module.load_data = lambda *arguments: (object(), None)
    at_once(folder)


SCENARIOS = {
    **{method: compare(method) for method in builders.METHODS},
    "several_steps": compare(
        "ffl", dataclasses.replace(CONFIG, steps_per_execution=2)
    ),
    "turns_of_several_steps": compare(
        "dualnet", dataclasses.replace(CONFIG, steps_per_execution=2)
    ),
    "clipped": compare(
        "ffl",
        dataclasses.replace(CONFIG, global_clipnorm=0.1, label_smoothing=0.1),
    ),
    **{
        scenario.__name__: scenario
        for scenario in (interrupted, go_on_alone, apart, diverging, refused)
    },
}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:]:
        print(f"scenario {name}", flush=True)
        SCENARIOS[name](folder / name)


if __name__ == "__main__":
    keras.config.disable_interactive_logging()
    main()
