"""Feeds batches to steps on JAX, with the images on the device.

Only the rows of a plan are sent to the device, for several steps at once. The
compiled step looks up, augments and normalises the images there.
"""

import typing

import keras
import numpy as np
from keras import ops

from keras_ffl.data.tf_data import by_tf_data
from keras_ffl.data.transform import Constants, normalized, transform
from keras_ffl.optional import tensorflow as tf


class DeviceBatch(typing.NamedTuple):
    """The batches of one or several steps, a structure of arrays.

    The first axis of all arrays is 1, so that they are copied to all devices
    instead of being split between them like a batch.

    Attributes:
        images: uint8 (1, n, height, width, channels), all examples.
        labels: int32 (1, n) or float32 (1, n, num_classes).
        constants: `Constants`.
        rows: Dict of the columns of a plan, (1, steps, batch, ...).
    """

    images: typing.Any
    labels: typing.Any
    constants: typing.Any
    rows: typing.Any

    def steps(self):
        """The rows of the steps, a dict of arrays (steps, batch, ...)."""
        return {name: column[0] for name, column in self.rows.items()}

    def prepared(self, rows):
        """Prepares the images and labels of one step.

        Args:
            rows: Dict of tensors (batch, ...), one step of `steps()`.

        Returns:
            Tuple of normalised float32 images (batch, height, width,
            channels) and labels, int32 (batch,) or float32 (batch,
            num_classes).
        """
        constants = Constants(*(value[0] for value in self.constants))
        pixels, labels = transform(
            *(
                ops.take(array[0], rows["example"], axis=0)
                for array in (self.images, self.labels)
            ),
            rows,
            constants,
            ops.vectorized_map,
        )
        pixels = normalized(pixels, constants.mean, constants.scale)
        return _spread(pixels), _spread(labels)


def _spread(batch):
    """Splits the rows of a batch between the devices if possible."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch
    if batch.shape[0] % distribution.device_mesh.devices.size:
        return batch
    return keras.distribution.distribute_tensor(
        batch, distribution.get_data_layout(batch.shape)
    )


def _everywhere(array):
    """Copies an array to the device, or to all of them."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return ops.convert_to_tensor(array)
    layout = keras.distribution.TensorLayout(
        [None] * array.ndim, distribution.device_mesh
    )
    return keras.distribution.distribute_tensor(array, layout)


def feed(batches):
    """Batches in the form for `fit`, `evaluate` and `predict`.

    Args:
        batches: `keras_ffl.data.Batches`.

    Returns:
        `ArrayFeed`; for photos a `tf.data.Dataset` of `(DeviceBatch,)`.
    """
    return (photo_feed if batches.examples.are_photos else ArrayFeed)(batches)


class ArrayFeed(keras.utils.PyDataset):
    """Batches of arrays that are kept on the device as a whole.

    Each element holds the steps of one call, see `batches.calls`.

    Args:
        batches: `keras_ffl.data.Batches`.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        labels = batches.examples.y
        if batches.soft_labels and labels.ndim == 1:
            labels = np.eye(batches.info.num_classes, dtype="float32")[labels]
        self._images, self._labels, *constants = (
            _everywhere(np.asarray(array)[np.newaxis])
            for array in (batches.examples.x, labels, *batches.constants)
        )
        self._constants = Constants(*constants)

    def __len__(self):
        options, calls = self.batches.options, self.batches.calls
        return (options.epochs - options.initial_epoch) * len(calls)

    def __getitem__(self, index):
        batches = self.batches
        epoch, call = divmod(index, len(batches.calls))
        first, stop = batches.calls[call]
        plan = batches.plan(batches.first_epoch() + epoch)
        plan = plan[batches.steps[first, 0] : batches.steps[stop - 1, 1]]
        rows = {
            name: column.reshape(1, stop - first, -1, *column.shape[1:])
            for name, column in plan.columns().items()
        }
        return (DeviceBatch(self._images, self._labels, self._constants, rows),)


def photo_feed(batches):
    """Batches of photos decoded by `tf.data`, each a `(DeviceBatch,)`."""

    def finish(pixels, labels, rows):
        if batches.soft_labels:
            labels = tf.one_hot(labels, batches.info.num_classes)
        del rows["kept"]
        rows["example"] = tf.range(tf.shape(pixels)[0])
        batch = DeviceBatch(
            pixels[tf.newaxis],
            labels[tf.newaxis],
            Constants(*(np.asarray(c)[np.newaxis] for c in batches.constants)),
            {k: v[tf.newaxis, tf.newaxis] for k, v in rows.items()},
        )
        return (batch,)

    return by_tf_data(batches, finish)
