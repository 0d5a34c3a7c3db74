"""Images and labels in memory, as `Batches` read them."""

import dataclasses

import numpy as np

from keras_ffl.data.batches import Batches, BatchOptions
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels
from keras_ffl.optional import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """The images and labels of a split, as `Batches` read them.

    Args:
        x: uint8 array (n, height, width, channels).
        y: int32 (n,) or float32 (n, num_classes) array.
    """

    x: np.ndarray
    y: np.ndarray
    are_photos = False

    @classmethod
    def checked(cls, x, y, info):
        """Makes examples from images and labels, or raises `InputError`."""
        x, y = np.asarray(x), np.asarray(y)
        if x.dtype != np.uint8 or x.shape[1:] != info.input_shape or not len(x):
            raise InputError(
                f"`x` must be uint8 images (n, *{info.input_shape}), n >= 1, "
                f"got shape {x.shape} of {x.dtype}"
            )
        check_labels(y, info.num_classes, "y")
        if len(x) != len(y):
            raise InputError(f"`y` must be {len(x)} labels, got {len(y)}")
        if y.ndim == 2 and y.shape[1] == info.num_classes:
            return cls(x, y.astype("float32"))
        return cls(x, y.reshape(-1).astype("int32"))

    def __len__(self):
        return len(self.x)

    def read(self, plans, info):
        """Reads the images and labels of plans.

        Args:
            plans: Function that returns an iterable of `Plan`.
            info: `DatasetInfo`.

        Yields:
            For each plan a tuple of uint8 (batch, height, width, channels)
            and the labels.
        """
        for plan in plans():
            yield self.x[plan.example], self.y[plan.example]

    def read_by_tf_data(self, epochs, rows_of, sizes, info, finish):
        """Like `read`, within `tf.data`.

        Args:
            epochs: `tf.data.Dataset` of the columns of each epoch's plan.
            rows_of: Function from these columns to a `tf.data.Dataset` with
                the columns of each slice, a dict of tensors.
            sizes: Integers (slices,), the rows of each slice of an epoch.
            info: `DatasetInfo`.
            finish: Function of images, labels and a slice's columns.

        Returns:
            `tf.data.Dataset` of what `finish` returns.
        """
        # The pipeline keeps them on the host even if there is an accelerator.
        with tf.device("CPU:0"):
            x, y = tf.constant(self.x), tf.constant(self.y)

        def prepare(rows):
            number = rows["example"]
            return finish(tf.gather(x, number), tf.gather(y, number), rows)

        return epochs.flat_map(rows_of).map(prepare, tf.data.AUTOTUNE)


def training_batches(
    x, y, info, batch_size, seed, augmentation=None, **options
):
    """Makes the batches of all epochs of a training run.

    Args:
        x: uint8 images (n, height, width, channels).
        y: Integer labels (n,), or one-hot or soft labels
            (n, num_classes).
        info: `DatasetInfo`.
        batch_size: Int.
        seed: Int >= 0.
        augmentation: `Augmentation`, or None for none.
        **options: Further fields of `keras_ffl.data.BatchOptions`.

    Returns:
        `keras_ffl.data.Batches`.

    Raises:
        InputError: Images, labels and options don't fit together.

    Example:

    >>> batches = training_batches(
    ...     x, y, info, 128, seed=0, augmentation=Augmentation(), epochs=300
    ... )
    >>> model.fit(batches, epochs=300)
    """
    options = BatchOptions(batch_size, seed, augmentation, **options)
    return Batches(Examples.checked(x, y, info), info, options)


def evaluation_batches(x, y, info, batch_size=100, **options):
    """Makes batches of images in their given order.

    Args:
        x: As in `training_batches`.
        y: As in `training_batches`.
        info: `DatasetInfo`.
        batch_size: Int; the last batch may be smaller.
        **options: Further fields of `keras_ffl.data.BatchOptions`.

    Returns:
        `keras_ffl.data.Batches`.

    Raises:
        InputError: As in `training_batches`.
    """
    options = BatchOptions(batch_size, **options)
    return Batches(Examples.checked(x, y, info), info, options)
