"""Batches for `fit`, `evaluate` and `predict` from images in memory."""

import sys

import numpy as np

from keras_ffl import backend
from keras_ffl.data.augmentation import (
    Augmentation,
    draw_epoch,
    stream_seed,
)
from keras_ffl.data.batch_augmentation import make_augment
from keras_ffl.data.in_memory import EvaluationBatches, TrainingBatches
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels
from keras_ffl.optional import tensorflow as tf


def normalize(x, info):
    """Subtracts a data set's mean and divides by its standard deviation.

    Args:
        x: Images `(..., height, width, channels)` in 0..255 of any dtype and
            the data set's shape; a NumPy array or a TensorFlow tensor.
        info: `DatasetInfo`.

    Returns:
        float32 array or tensor, whichever `x` was, of the shape of `x`.
    """
    # TensorFlow takes three times as long to spread three values over pixels.
    sized = None not in info.input_shape
    shape = info.input_shape if sized else info.input_shape[-1:]
    mean = np.full(shape, info.mean, "float32")
    std = np.full(shape, info.std, "float32")
    # Where TensorFlow was never imported nothing can be one of its tensors.
    is_tensor = sys.modules.get("tensorflow") and tf.is_tensor(x)
    x = tf.cast(x, tf.float32) if is_tensor else np.asarray(x, "float32")
    return (x - mean) / std


def displayed(x, info):
    """Undoes `normalize` for the eye.

    Args:
        x: Normalised images `(..., height, width, channels)`, a float array
            or tensor.
        info: `DatasetInfo`.

    Returns:
        uint8 array of the shape of `x`.
    """
    pixels = np.asarray(x, "float32") * np.float32(info.std)
    return np.rint(np.clip(pixels + np.float32(info.mean), 0, 255)).astype(
        "uint8"
    )


def steps_per_epoch(n, batch_size, drop_remainder=False, replicas=1):
    """Counts the batches in an epoch.

    Args:
        n: Integer, number of examples.
        batch_size: Integer.
        drop_remainder: Boolean, whether a last batch that is smaller than
            the others is left out.
        replicas: Integer; a last batch with fewer examples is left out too,
            since some replica would get none.

    Returns:
        Integer, what `fit` is given as `steps_per_epoch`.
    """
    full, rest = divmod(n, batch_size)
    return full if drop_remainder else full + (rest >= replicas)


def training_batches(
    x,
    y,
    info,
    batch_size,
    seed,
    augmentation,
    initial_epoch=0,
    epochs=1,
    drop_remainder=False,
    part=None,
    steps_per_call=1,
):
    """Makes one data set that runs through all epochs of a training.

    Every epoch holds each example once. The order of epoch `e` and what is
    done to its images depend on `seed` and `e` alone, so that a training
    that goes on at epoch `e` sees what it would have seen without the
    interruption. Give `fit` its `steps_per_epoch` as well: it then draws all
    epochs from one iterator, where it would else start anew in every epoch.

    Args:
        x: uint8 images `(n, height, width, channels)`.
        y: Integer labels `(n,)`, or one-hot or soft labels
            `(n, num_classes)`.
        info: `DatasetInfo`.
        batch_size: Integer.
        seed: Integer.
        augmentation: `Augmentation`, or `None` for none.
        initial_epoch: Integer, the first epoch.
        epochs: Integer, the epoch to stop before.
        drop_remainder: Boolean, whether to leave out an epoch's last batch
            if it is smaller than the others.
        part: Function from a `tf.data.Dataset` of the batches' indices, int32
            tensors `(batch,)`, to one of those that this process is to
            prepare, of any number and size; `None` takes all. Not used on
            JAX.
        steps_per_call: Integer, on JAX how many steps a compiled function
            runs in one call. Not used on TensorFlow.

    Returns:
        `tf.data.Dataset` of `(images, labels)`: float32
        `(batch, height, width, channels)`, normalised, and int32 `(batch,)`
        or float32 `(batch, num_classes)`. It has
        `(epochs - initial_epoch) * steps_per_epoch(n, batch_size,
        drop_remainder)` elements. With Keras' backend jax the same batches as
        a `keras_ffl.data.in_memory.TrainingBatches`.

    Raises:
        InputError: If images, labels or augmentation don't fit the data set.

    Example:

    >>> batches = training_batches(
    ...     x, y, info, 128, seed=0, augmentation=Augmentation(), epochs=300
    ... )
    >>> model.fit(
    ...     batches,
    ...     epochs=300,
    ...     steps_per_epoch=steps_per_epoch(len(x), 128),
    ...     shuffle=False,
    ... )
    """
    x, y = _checked(x, y, info)
    n = len(x)
    check_batch_size(batch_size, n, drop_remainder)
    augmentation = augmentation or Augmentation(pad=0, flip=False)
    if backend.DATA_ON_DEVICE:
        return TrainingBatches(
            x,
            y,
            info,
            batch_size,
            seed,
            augmentation,
            initial_epoch,
            epochs,
            drop_remainder,
            steps_per_call,
        )
    augment = make_augment(augmentation, info)
    # Held by the pipeline on the host, also where there is an accelerator.
    with tf.device("CPU:0"):
        all_images, all_labels = tf.constant(x), tf.constant(y)

    def draw(epoch):
        order = epoch_order(seed, epoch, n)
        draws = draw_epoch(seed, epoch, n, augmentation)
        return index_batches(order, batch_size, drop_remainder, part).map(
            lambda i: (i, {k: tf.gather(draws[k], i) for k in draws})
        )

    def prepare(i, draws):
        images, labels = augment(
            tf.gather(all_images, i), tf.gather(all_labels, i), draws
        )
        return normalize(images, info), labels

    batches = tf.data.Dataset.range(initial_epoch, epochs).flat_map(draw)
    return finished(batches, prepare)


def evaluation_batches(x, y, info, batch_size=100, one_hot=False, part=None):
    """Makes a data set of normalised images in their given order.

    Args:
        x: uint8 images `(n, height, width, channels)`.
        y: Integer labels `(n,)`, or one-hot or soft labels
            `(n, num_classes)`.
        info: `DatasetInfo`.
        batch_size: Integer; the last batch may be smaller.
        one_hot: Boolean, whether integer labels become float32 rows, as
            validation beside training on mixed labels needs them.
        part: As in `training_batches`.

    Returns:
        `tf.data.Dataset` of `(images, labels)` as in `training_batches`; with
        Keras' backend jax a `keras_ffl.data.in_memory.EvaluationBatches`.

    Raises:
        InputError: If images or labels don't fit the data set.
    """
    x, y = _checked(x, y, info)
    check_batch_size(batch_size, len(x))
    if backend.DATA_ON_DEVICE:
        if one_hot and y.ndim == 1:
            y = np.eye(info.num_classes, dtype="float32")[y]
        return EvaluationBatches(x, y, info, batch_size)
    with tf.device("CPU:0"):
        all_images, all_labels = tf.constant(x), tf.constant(y)

    def prepare(i):
        labels = tf.gather(all_labels, i)
        if one_hot and labels.shape.rank == 1:
            labels = tf.one_hot(labels, info.num_classes)
        return normalize(tf.gather(all_images, i), info), labels

    indices = index_batches(tf.range(len(x)), batch_size, False, part)
    return finished(indices, prepare)


def _checked(x, y, info):
    """Returns images and labels in the dtypes of the pipeline."""
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype != np.uint8 or x.shape[1:] != info.input_shape or not len(x):
        raise InputError(
            f"x: expected uint8 images of shape {info.input_shape}, n of "
            f"them, got an array of shape {x.shape} of {x.dtype}"
        )
    check_labels(y, info.num_classes, "y")
    if len(x) != len(y):
        raise InputError(f"y: expected {len(x)} labels, got {len(y)}")
    if y.ndim == 2 and y.shape[1] == info.num_classes:
        return x, y.astype("float32")
    return x, y.reshape(-1).astype("int32")


# ----- what the pipelines of arrays and of photos share ---------------------


def check_batch_size(batch_size, n, drop_remainder=False):
    """Raises an `InputError` unless `n` examples give such batches."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(
            f"batch_size: expected an integer >= 1, got {batch_size!r}"
        )
    if drop_remainder and n < batch_size:
        raise InputError(
            f"batch_size: expected at most {n}, the number of examples, when "
            f"the last partial batch is dropped, got {batch_size}"
        )


def epoch_order(seed, epoch, n):
    """Returns the order of an epoch's examples, an int32 tensor `(n,)`."""
    return tf.random.experimental.stateless_shuffle(
        tf.range(n), stream_seed(seed, epoch, 0), "philox"
    )


def index_batches(order, batch_size, drop_remainder, part):
    """Returns a `tf.data.Dataset` of the indices in the batches to prepare."""
    indices = tf.data.Dataset.from_tensor_slices(order)
    batches = indices.batch(batch_size, drop_remainder)
    return batches if part is None else part(batches)


def finished(batches, prepare):
    """Returns batches prepared in parallel, in a fixed order."""
    options = tf.data.Options()
    options.deterministic = True
    # Every replica and worker is to see the batches of the same global order.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return (
        batches.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )
