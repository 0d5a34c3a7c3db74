"""Augmentation of training images: its options, crop, flip and cutout.

What is drawn for an image is drawn for a whole epoch at once from the seed
and the epoch's number, and the augmentation itself is a function of the
images and these draws.
"""

import dataclasses

from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to training images, in this order.

    Padding, horizontal flip, random crop to the original size, RandAugment,
    cutout, CutMix, MixUp. The defaults are the method's recipe for CIFAR;
    for a data set use `Augmentation(flip=info.flip)`.

    Args:
        pad: Integer >= 0, pixels added on every side before the crop.
        padding: `"reflect"` (without repeating the edge) or `"constant"`
            (black).
        flip: Boolean, whether every second image, by chance, is mirrored.
        cutout: Integer >= 0, side in pixels of a square that is filled with
            the data set's mean. Its centre is anywhere in the image, so a
            part of the square may be outside (DeVries & Taylor, 2017).
        randaugment: Magnitude in 0..10 of two random operations of
            RandAugment (Cubuk et al., 2020); 0 is none. Images of three
            channels only.
        mixup: Float >= 0, alpha of MixUp (Zhang et al., 2018); 0 is none.
        cutmix: Float >= 0, alpha of CutMix (Yun et al., 2019); 0 is none.
            MixUp and CutMix turn integer labels into soft ones.
        label_smoothing: Float in [0, 1), the part of every label that is
            spread evenly over all classes (Szegedy et al., 2016); it turns
            integer labels into soft ones.

    Raises:
        InputError: If a value is outside its range.
    """

    pad: int = 4
    padding: str = "reflect"
    flip: bool = True
    cutout: int = 0
    randaugment: float = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self):
        for name in ("pad", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise InputError(f"{name}: expected pixels >= 0, got {value!r}")
        if self.padding not in ("reflect", "constant"):
            raise InputError(
                f"padding: expected 'reflect' or 'constant', "
                f"got {self.padding!r}"
            )
        if not 0 <= self.randaugment <= 10:
            raise InputError(
                f"randaugment: expected a magnitude in 0..10, "
                f"got {self.randaugment!r}"
            )
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"{name}: expected alpha >= 0, got {getattr(self, name)!r}"
                )
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"label_smoothing: expected a part in [0, 1), "
                f"got {self.label_smoothing!r}"
            )

    @property
    def softens_labels(self):
        """Whether labels become soft ones `(batch, num_classes)`."""
        return bool(self.mixup or self.cutmix or self.label_smoothing)

    @property
    def changes_images(self):
        """Whether pixels are changed otherwise than by crop and flip."""
        return bool(
            self.randaugment or self.cutout or self.mixup or self.cutmix
        )

    @property
    def unseeded(self):
        """Names of the options in use that don't follow the seed."""
        names = ("randaugment", "mixup", "cutmix")
        return tuple(name for name in names if getattr(self, name))

    def check_input_shape(self, input_shape):
        """Checks that images of a shape can be augmented so.

        Args:
            input_shape: Tuple `(height, width, channels)`.

        Raises:
            InputError: If they can't.
        """
        height, width, channels = input_shape
        if self.padding == "reflect" and self.pad >= min(height, width):
            raise InputError(
                f"pad: expected less than the image's size {height}x{width} "
                f"for padding='reflect', got {self.pad}"
            )
        if self.randaugment and channels != 3:
            raise InputError(
                f"randaugment: expected images of 3 channels, got {channels}"
            )


def draw_epoch(seed, epoch, n, augmentation):
    """Draws what happens to each of `n` examples in one epoch.

    Row `i` belongs to example `i`, whatever its place in the epoch's order.

    Args:
        seed: Integer.
        epoch: Integer or integer tensor, the epoch's number.
        n: Integer, number of examples.
        augmentation: `Augmentation`.

    Returns:
        Dict of tensors of shape `(n,)`: `dy` and `dx` (int32 in
        0..2 pad, the crop's corner in the padded image), `flip` (bool), and
        with cutout `cutout_y` and `cutout_x` (float32 in [0, 1), the
        square's centre as a part of the image's height and width).
    """

    def uniform(stream, maxval, dtype):
        return tf.random.stateless_uniform(
            [n], stream_seed(seed, epoch, stream), 0, maxval, dtype, "philox"
        )

    offsets = 2 * augmentation.pad + 1
    draws = {
        "dy": uniform(1, offsets, tf.int32),
        "dx": uniform(2, offsets, tf.int32),
        "flip": uniform(3, 2 if augmentation.flip else 1, tf.int32) == 1,
    }
    if augmentation.cutout:
        draws["cutout_y"] = uniform(4, 1.0, tf.float32)
        draws["cutout_x"] = uniform(5, 1.0, tf.float32)
    return draws


def stream_seed(seed, epoch, stream):
    """Returns the seed of one of an epoch's independent random streams.

    Args:
        seed: Integer.
        epoch: Integer or integer tensor.
        stream: Integer; 0 is the order of the examples, the others are
            those of `draw_epoch`.

    Returns:
        int64 tensor of shape `(2,)` for TensorFlow's stateless operations.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    stream = tf.constant(stream, tf.int64)
    return tf.random.experimental.stateless_fold_in(key, stream, "philox")


def crop_and_flip(images, draws, augmentation):
    """Pads, flips and crops each image by its own draws.

    Args:
        images: Tensor `(batch, height, width, channels)` of any dtype.
        draws: Dict as `draw_epoch` returns it, of shape `(batch,)`.
        augmentation: `Augmentation`.

    Returns:
        Tensor of the shape and dtype of `images`.
    """
    # The padded image is never made: every pixel of the result is looked up
    # where padding would have copied it from (tf.pad's reflection alone takes
    # three times as long as these lookups).
    height, width = images.shape[1:3]
    rows = draws["dy"][:, tf.newaxis] + tf.range(height) - augmentation.pad
    columns = draws["dx"][:, tf.newaxis] + tf.range(width) - augmentation.pad
    columns = tf.where(
        draws["flip"][:, tf.newaxis], width - 1 - columns, columns
    )
    if augmentation.padding == "reflect":
        rows, columns = _reflected(rows, height), _reflected(columns, width)
    else:
        rows, columns = (
            _outside_last(rows, height),
            _outside_last(columns, width),
        )
        images = tf.pad(images, [[0, 0], [0, 1], [0, 1], [0, 0]])
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _reflected(positions, size):
    """Mirrors positions outside 0..size-1 at the image's edge pixels."""
    last = size - 1
    return last - tf.abs(last - tf.abs(positions))


def _outside_last(positions, size):
    """Sends positions outside 0..size-1 to `size`, the one black pixel."""
    inside = (positions >= 0) & (positions < size)
    return tf.where(inside, positions, size)


def cut_out(images, draws, side, fill):
    """Fills a square of each image, clipped at the image's borders.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        draws: Dict with `cutout_y` and `cutout_x` as in `draw_epoch`, of
            shape `(batch,)`.
        side: Integer, the square's side in pixels.
        fill: Sequence of one value per channel.

    Returns:
        Tensor of the shape and dtype of `images`.
    """

    def covered(draw, size):
        start = tf.cast(draw * size, tf.int32)[:, tf.newaxis] - side // 2
        positions = tf.range(size)
        return (positions >= start) & (positions < start + side)

    height, width = images.shape[1:3]
    rows = covered(draws["cutout_y"], height)[:, :, tf.newaxis, tf.newaxis]
    columns = covered(draws["cutout_x"], width)[:, tf.newaxis, :, tf.newaxis]
    return tf.where(rows & columns, tf.constant(fill, images.dtype), images)
