"""Batches of arrays that lie on the device as a whole.

Only which examples a batch holds and what was drawn for them goes to the
device, for several steps at once. Images are gathered, cropped, mirrored and
normalised there, within the compiled step.
"""

import typing

import keras
import numpy as np
from keras import ops

from keras_ffl.data.plans import (
    CUT_LEFT,
    CUT_TOP,
    EXAMPLE,
    FLIP,
    LEFT,
    TOP,
    TrainingPlans,
)
from keras_ffl.errors import InputError


class DeviceBatch(typing.NamedTuple):
    """The batches of one or several steps, a structure of arrays only.

    The first axis of all of them is 1: what is no batch is to be copied to
    all devices, not to be split between them.

    Attributes:
        images: uint8 `(1, n, height, width, channels)`, all examples.
        labels: int32 `(1, n)` or float32 `(1, n, num_classes)`.
        mean: float32 `(1, channels)`, in units of 0..255.
        std: float32 `(1, channels)`.
        reflect: bool `(1,)`, whether the padding reflects; else it is black.
        cutout: int32 `(1,)`, side of the square that is cut out.
        plan: int32 `(1, steps, batch, k)`: the example (k = 1), crop and
            flip (k = 4) and cutout (k = 6).
    """

    images: typing.Any
    labels: typing.Any
    mean: typing.Any
    std: typing.Any
    reflect: typing.Any
    cutout: typing.Any
    plan: typing.Any

    def steps(self):
        """The plans of the steps, int32 `(steps, batch, k)`."""
        return self.plan[0]

    def prepared(self, plan):
        """The images and labels of one step.

        Args:
            plan: int32 tensor `(batch, k)`, one of `steps()`.

        Returns:
            Tuple of float32 `(batch, height, width, channels)`, normalised,
            and the labels, int32 `(batch,)` or float32
            `(batch, num_classes)`.
        """
        example = plan[:, EXAMPLE]
        if plan.shape[-1] == 1:
            images = ops.take(self.images[0], example, axis=0)
        else:
            images = self._cropped(plan)
        x = (ops.cast(images, "float32") - self.mean[0]) / self.std[0]
        if plan.shape[-1] > CUT_TOP:
            # It is filled with the mean, which is 0 now.
            x = ops.where(self._cut_out(plan), ops.zeros_like(x), x)
        y = ops.take(self.labels[0], example, axis=0)
        return _spread(x), _spread(y)

    def _cropped(self, plan):
        """Padded, mirrored and cropped images, uint8.

        As in `keras_ffl.data.crop_and_flip` the padded image is never made.
        """
        examples, height, width, channels = self.images.shape[1:]
        rows = plan[:, TOP, None] + ops.arange(height, dtype="int32")
        columns = plan[:, LEFT, None] + ops.arange(width, dtype="int32")
        columns = ops.where(
            plan[:, FLIP, None] == 1, width - 1 - columns, columns
        )
        rows, in_rows = _looked_up(rows, height)
        columns, in_columns = _looked_up(columns, width)
        pixels = ops.reshape(self.images[0], (-1, channels))
        first = plan[:, EXAMPLE, None] * height + rows
        images = ops.take(
            pixels, first[:, :, None] * width + columns[:, None, :], axis=0
        )
        inside = in_rows[:, :, None, None] & in_columns[:, None, :, None]
        return ops.where(
            inside | self.reflect[0], images, ops.zeros_like(images)
        )

    def _cut_out(self, plan):
        """Which pixels the square covers, bool `(batch, h, w, 1)`."""

        def covered(column, size):
            start = plan[:, column, None]
            positions = ops.arange(size, dtype="int32")
            return (positions >= start) & (positions < start + self.cutout[0])

        height, width = self.images.shape[2:4]
        rows = covered(CUT_TOP, height)[:, :, None, None]
        return rows & covered(CUT_LEFT, width)[:, None, :, None]


def _looked_up(positions, size):
    """Where to look a padded position up, and whether it is in the image."""
    inside = (positions >= 0) & (positions < size)
    last = size - 1
    reflected = last - ops.abs(last - ops.abs(positions))
    # Of black padding anything in the image will do.
    return ops.clip(reflected, 0, last), inside


def _spread(batch):
    """A batch, its rows split between the devices where that is possible."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch
    if batch.shape[0] % distribution.device_mesh.devices.size:
        return batch
    return keras.distribution.distribute_tensor(
        batch, distribution.get_data_layout(batch.shape)
    )


class _Batches(keras.utils.PyDataset):
    """What batches for training and evaluation share: the arrays.

    Args:
        x: uint8 array `(n, height, width, channels)`.
        y: int32 `(n,)` or float32 `(n, num_classes)` array.
        info: `DatasetInfo`.
        reflect: Whether padding reflects.
        cutout: Integer, side of the square that is cut out.
    """

    def __init__(self, x, y, info, reflect=False, cutout=0):
        super().__init__()
        arrays = (
            x,
            y,
            np.array(info.mean, "float32"),
            np.array(info.std, "float32"),
            np.array(reflect, bool),
            np.array(cutout, "int32"),
        )
        self.examples = len(x)
        self._arrays = [_everywhere(array[np.newaxis]) for array in arrays]

    def batch_of(self, plan):
        """What Keras is given: a plan `(..., steps, batch, k)` and arrays."""
        return (DeviceBatch(*self._arrays, np.asarray(plan, "int32")[None]),)

    def __iter__(self):
        """The steps' images and labels, as a `tf.data.Dataset` has them."""
        for index in range(len(self)):
            (batch,) = self[index]
            yield from map(batch.prepared, batch.steps())

    def as_numpy_iterator(self):
        """As `__iter__`, NumPy arrays."""
        for images, labels in self:
            yield ops.convert_to_numpy(images), ops.convert_to_numpy(labels)


def _everywhere(array):
    """An array on the device, or on each one."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return ops.convert_to_tensor(array)
    layout = keras.distribution.TensorLayout(
        [None] * array.ndim, distribution.device_mesh
    )
    return keras.distribution.distribute_tensor(array, layout)


class TrainingBatches(_Batches):
    """All epochs of a training; made by `keras_ffl.data.training_batches`.

    Its elements hold several steps each: a compiled function runs them in
    one call. Give `fit` its `calls_per_epoch` as `steps_per_epoch`.

    Args:
        x: uint8 array `(n, height, width, channels)`.
        y: int32 `(n,)` or float32 `(n, num_classes)` array.
        info: `DatasetInfo`.
        batch_size: Integer.
        seed: Integer.
        augmentation: `Augmentation`.
        initial_epoch: Integer, the first epoch.
        epochs: Integer, the epoch to stop before.
        drop_remainder: Boolean, whether to leave out an epoch's last batch
            if it is smaller than the others.
        steps_per_call: Integer, the most steps in one element. A smaller last
            batch has one for itself.

    Raises:
        InputError: The augmentation needs TensorFlow.
    """

    def __init__(
        self,
        x,
        y,
        info,
        batch_size,
        seed,
        augmentation,
        initial_epoch=0,
        epochs=1,
        drop_remainder=False,
        steps_per_call=1,
    ):
        if augmentation.unseeded:
            raise InputError(
                f"{', '.join(augmentation.unseeded)}: expected 0 with Keras' "
                "backend jax, since keras-cv does it on TensorFlow"
            )
        augmentation.check_input_shape(info.input_shape)
        if augmentation.softens_labels:
            y = _softened(y, info.num_classes, augmentation.label_smoothing)
        super().__init__(
            x, y, info, augmentation.padding == "reflect", augmentation.cutout
        )
        self.plans = TrainingPlans(
            self.examples,
            x.shape[1:3],
            batch_size,
            seed,
            augmentation,
            initial_epoch,
            epochs,
            drop_remainder,
            steps_per_call,
        )

    @property
    def calls_per_epoch(self):
        """Number of elements in an epoch, an int."""
        return self.plans.calls_per_epoch

    def __len__(self):
        return len(self.plans)

    def __getitem__(self, index):
        return self.batch_of(self.plans[index])


def _softened(y, num_classes, smoothing):
    """Labels as float32 rows, smoothed."""
    if y.ndim == 1:
        y = np.eye(num_classes, dtype="float32")[y]
    y = y.astype("float32")
    return (1 - smoothing) * y + smoothing / num_classes


class EvaluationBatches(_Batches):
    """Images in their order; made by `keras_ffl.data.evaluation_batches`.

    Args:
        x: uint8 array `(n, height, width, channels)`.
        y: int32 `(n,)` or float32 `(n, num_classes)` array.
        info: `DatasetInfo`.
        batch_size: Integer; the last batch may be smaller.
    """

    def __init__(self, x, y, info, batch_size):
        super().__init__(x, y, info)
        self.batch_size = batch_size

    def __len__(self):
        return -(-self.examples // self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        stop = min(start + self.batch_size, self.examples)
        return self.batch_of(np.arange(start, stop)[np.newaxis, :, np.newaxis])
