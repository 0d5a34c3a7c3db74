"""From pixels and the rows of a plan to what a network sees, in `keras.ops`.

The backends (`keras_ffl.backend`) run it when they feed batches. On TensorFlow
it runs within `tf.data`, except for the normalisation, which is part of the
step; on JAX all of it runs within the step.
"""

import typing

import numpy as np
from keras import ops

from keras_ffl.data import randaugment
from keras_ffl.data.epoch_plan import PER_VIEW


class Constants(typing.NamedTuple):
    """The values of a data set and an augmentation that all images share.

    Attributes:
        mean: float32 (channels,), for pixels in 0..255.
        scale: float32 (channels,), one over the standard deviation.
        reflect: bool (), whether padding reflects; otherwise it is black.
        smoothing: float32 (), the fraction of a label that is spread over
            all classes.
    """

    mean: typing.Any
    scale: typing.Any
    reflect: typing.Any
    smoothing: typing.Any


def constants_of(info, augmentation):
    """The `Constants` of a data set and an augmentation, in NumPy arrays."""
    return Constants(
        *_normalization(info),
        np.array(augmentation.padding == "reflect"),
        np.array(augmentation.label_smoothing, "float32"),
    )


def _normalization(info):
    # A scale to multiply by: graphs turn divisions by constants into products.
    return np.float32(info.mean), 1 / np.float32(info.std)


def transform(pixels, labels, rows, constants, over_images=ops.map):
    """Augments a batch according to the rows of a plan.

    Crop and flip, RandAugment, cutout, label smoothing, CutMix and MixUp, in
    this order. Steps without a column in `rows` are skipped, as is smoothing
    of integer labels.

    Args:
        pixels: uint8 tensor (batch, height, width, channels).
        labels: int32 (batch,) or float32 (batch, num_classes) tensor; the
            latter if labels are smoothed or mixed.
        rows: Dict of tensors, the columns of a `Plan`. If it is one of several
            views, so is the result: (batch, views, height, width, channels).
        constants: `Constants`.
        over_images: `keras.ops.map` or `keras.ops.vectorized_map`, whichever
            runs RandAugment faster.

    Returns:
        Tuple of the pixels in 0..255 (float32 with cutout, CutMix or MixUp,
        otherwise uint8) and the labels.
    """
    pixels = _augmented(pixels, rows, constants, over_images)
    if len(labels.shape) == 2:
        part = constants.smoothing
        labels = labels * (1 - part) + part / labels.shape[1]
    if "partner" in rows:
        pixels, labels = _mixed(ops.cast(pixels, "float32"), labels, rows)
    return pixels, labels


def _augmented(pixels, rows, constants, over_images):
    """Crops, flips, RandAugments and cuts out, each view by its own draws."""
    if "crop" in rows and len(rows["crop"].shape) == 3:
        views = rows["crop"].shape[1]
        flat = {
            name: ops.reshape(rows[name], (-1, *rows[name].shape[2:]))
            for name in PER_VIEW
            if name in rows
        }
        pixels = ops.repeat(pixels, views, axis=0)
        pixels = _augmented(pixels, flat, constants, over_images)
        return ops.reshape(pixels, (-1, views, *pixels.shape[1:]))
    if "crop" in rows:
        pixels = crop_and_flip(pixels, rows, constants.reflect)
    if "operation" in rows:
        pixels = _randaugment(pixels, rows, over_images)
    if "cutout" in rows:
        inside = _within(rows["cutout"], pixels)
        pixels = ops.where(inside, constants.mean, ops.cast(pixels, "float32"))
    return pixels


def normalized(pixels, mean, scale):
    """Normalises pixels by a mean and a scale.

    Args:
        pixels: Tensor (batch, ..., height, width, channels) in 0..255.
        mean: float32 tensor (channels,).
        scale: float32 tensor (channels,).

    Returns:
        float32 tensor of the shape of `pixels`.
    """
    pixels = ops.cast(pixels, "float32")
    if None in pixels.shape[1:]:
        return (pixels - mean) * scale
    # Broadcasting three values over single pixels takes TensorFlow three times
    # as long as over whole lines.
    width, channels = pixels.shape[-2:]
    lines = ops.reshape(pixels, (-1, width * channels))
    lines = (lines - ops.tile(mean, width)) * ops.tile(scale, width)
    return ops.reshape(lines, (-1, *pixels.shape[1:]))


def normalize(x, info):
    """Subtracts a data set's mean and divides by its standard deviation.

    Args:
        x: Images (batch, height, width, channels) in 0..255 of any dtype;
            a NumPy array or a tensor.
        info: `DatasetInfo`.

    Returns:
        float32 array or tensor, like `x`, of the shape of `x`.
    """
    mean, scale = _normalization(info)
    if isinstance(x, np.ndarray):
        return (x.astype("float32") - mean) * scale
    return normalized(x, mean, scale)


class Pixels(typing.NamedTuple):
    """Images that the step will normalise.

    Attributes:
        values: uint8 or float32 (batch, ..., height, width, channels), 0..255.
        mean: float32 (channels,).
        scale: float32 (channels,).
    """

    values: typing.Any
    mean: typing.Any
    scale: typing.Any


# ----- individual steps -------------------------------------------------------


def crop_and_flip(pixels, rows, reflect):
    """Pads, flips and crops each image.

    Args:
        pixels: Tensor (batch, height, width, channels).
        rows: Dict with `crop` and optionally `flip`, columns of a `Plan`.
        reflect: Bool or tensor, whether padding reflects.

    Returns:
        Tensor of the shape and dtype of `pixels`.
    """
    # Instead of padding, every pixel of the result is looked up where padding
    # would have copied it from (tf.pad's reflection alone takes three times as
    # long as these lookups).
    _, height, width, channels = pixels.shape
    row = rows["crop"][:, :1] + ops.arange(height, dtype="int32")
    column = rows["crop"][:, 1:] + ops.arange(width, dtype="int32")
    if "flip" in rows:
        column = ops.where(rows["flip"][:, None], width - 1 - column, column)
    row, row_inside = _looked_up(row, height)
    column, column_inside = _looked_up(column, width)
    number = ops.arange(ops.shape(pixels)[0], dtype="int32")[:, None]
    first = (number * height + row) * width
    found = ops.take(
        ops.reshape(pixels, (-1, channels)),
        first[:, :, None] + column[:, None, :],
        axis=0,
    )
    if isinstance(reflect, np.ndarray) and reflect:
        return found
    inside = row_inside[:, :, None, None] & column_inside[:, None, :, None]
    return ops.where(inside | reflect, found, ops.zeros_like(found))


def _looked_up(positions, size):
    """The positions to look up for padded ones, and which are in the image."""
    inside = (positions >= 0) & (positions < size)
    last = size - 1
    reflected = last - ops.abs(last - ops.abs(positions))
    # For black padding any valid position will do: its pixel is not used.
    return ops.clip(reflected, 0, last), inside


def _randaugment(pixels, rows, over_images):
    own = {k: rows[k] for k in ("operation", "strength", "affine")}
    images = over_images(
        lambda each: randaugment.transformed(each["image"], each),
        {"image": ops.cast(pixels, "int32"), **own},
    )
    return ops.cast(images, "uint8")


def _within(box, pixels):
    """Mask of the pixels in each image's box, bool (batch, h, w, 1)."""
    height, width = pixels.shape[-3:-1]
    y = ops.arange(height, dtype="int32")
    x = ops.arange(width, dtype="int32")
    top, left, bottom, right = (box[:, k, None] for k in range(4))
    rows = (y >= top) & (y < bottom)
    columns = (x >= left) & (x < right)
    return rows[:, :, None, None] & columns[:, None, :, None]


def _mixed(pixels, labels, rows):
    """Applies CutMix and MixUp with each image's partner, to all its views."""
    ones = (1,) * (len(pixels.shape) - 1)
    partner = ops.arange(ops.shape(pixels)[0], dtype="int32") + rows["partner"]

    def of_partner(values):
        return ops.take(values, partner, axis=0)

    if "cutmix" in rows:
        inside = _within(rows["cutmix"], pixels)
        inside = ops.reshape(inside, (-1, *ones[3:], *inside.shape[1:]))
        pixels = ops.where(inside, of_partner(pixels), pixels)
        box = ops.cast(rows["cutmix"], "float32")
        area = (box[:, 2:3] - box[:, :1]) * (box[:, 3:] - box[:, 1:2])
        # A product, since graphs turn divisions by constants into products.
        part = area * np.float32(1 / (pixels.shape[-3] * pixels.shape[-2]))
        labels = labels * (1 - part) + of_partner(labels) * part
    if "mixup" in rows:
        own = rows["mixup"][:, None]
        labels = own * labels + (1 - own) * of_partner(labels)
        own = ops.reshape(own, (-1, *ones))
        pixels = own * pixels + (1 - own) * of_partner(pixels)
    return pixels, labels
