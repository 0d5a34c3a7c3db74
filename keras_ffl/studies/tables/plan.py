"""Plans the runs of a table and their duration, without any data."""

import dataclasses
import statistics
import time

import keras
import numpy as np

from keras_ffl.data import DatasetInfo, steps_per_epoch
from keras_ffl.errors import InputError, one_line

# Image shape, classes, training images.
_DATASETS = {
    "digits": ((16, 16, 1), 10, 1437),
    "fashion_mnist": ((28, 28, 1), 10, 60000),
    "cifar10": ((32, 32, 3), 10, 50000),
    "cifar100": ((32, 32, 3), 100, 50000),
    "imagenet2012": ((224, 224, 3), 1000, 1281167),
}
_WARM_UP, _TIMED = 2, 3


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The remaining work for a cell.

    Attributes:
        cell: `keras_ffl.studies.tables.cells.Cell`.
        state: Str, "finished", "3 of 10 epochs" or "missing", and the reason
            of a failure.
        seconds: Float, or None if unknown.
        reason: Str, why it is unknown, or None.
    """

    cell: object
    state: str
    seconds: float | None
    reason: str | None = None


def estimates(cells):
    """Times a training step of each configuration and estimates the rest.

    This only covers steps, not evaluation and reading of data.

    Args:
        cells: List of `keras_ffl.studies.tables.cells.Cell`.

    Yields:
        `Estimate` for each cell.
    """
    known = {}
    for cell in cells:
        state = cell.state()
        if cell.finished:
            yield Estimate(cell, state, 0.0)
            continue
        recipe = dataclasses.replace(
            cell.config, seed=0, data_dir=None, preset=""
        )
        if recipe not in known:
            known[recipe] = _seconds_or_reason(recipe)
        seconds, reason = known[recipe]
        left = cell.config.epochs - cell.epochs_done
        yield Estimate(cell, state, seconds and seconds * left, reason)


def _seconds_or_reason(config):
    # Anything that prevents building a model would prevent training it.
    try:
        return seconds_per_epoch(config), None
    except InputError as error:
        return None, one_line(error)
    except Exception as error:
        return None, one_line(f"{type(error).__name__}: {error}")[:200]


def seconds_per_epoch(config):
    """Times the training steps of an epoch on random images.

    Args:
        config: `keras_ffl.config.Config`.

    Returns:
        Float.

    Raises:
        InputError: The model can't be built.
    """
    from keras_ffl import training

    info, images = dataset_info(config.dataset)
    keras.utils.clear_session()
    model = training.build_model(config, info)
    rng = np.random.default_rng(0)
    views = config.options.number_of_views(config.networks)
    several = (views,) if views > 1 else ()
    shape = (config.batch_size, *several, *info.input_shape)
    x = rng.standard_normal(shape, "float32")
    y = rng.integers(info.num_classes, size=config.batch_size, dtype="int32")
    times = []
    for _ in range(_WARM_UP + _TIMED):
        started = time.perf_counter()
        model.train_on_batch(x, y)
        times.append(time.perf_counter() - started)
    step = statistics.median(times[_WARM_UP:])
    return step * steps_per_epoch(images, config.batch_size)


def dataset_info(name):
    """The shape and classes of a data set, without its data.

    Args:
        name: Name of a data set of the tables.

    Returns:
        Tuple of a `keras_ffl.data.DatasetInfo` and the number of training
        images.

    Raises:
        InputError: The data set is unknown.
    """
    if name not in _DATASETS:
        raise InputError(
            f"`dataset` must be one of {', '.join(_DATASETS)}, got {name!r}"
        )
    shape, classes, images = _DATASETS[name]
    info = DatasetInfo(
        name,
        classes,
        shape,
        class_names=[str(k) for k in range(classes)],
        mean=[0.0] * shape[-1],
        std=[1.0] * shape[-1],
        flip=False,
    )
    return info, images


def duration(seconds):
    """Formats a duration: "40 s", "12 min", "3.5 h" or "2.1 days"."""
    for length, unit, digits in (
        (86400, "days", 1),
        (3600, "h", 1),
        (60, "min", 0),
    ):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
