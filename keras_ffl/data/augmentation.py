"""What is done to training images."""

import dataclasses

from keras_ffl.errors import InputError


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
            MixUp and CutMix draw a weight and a box for each image, take the
            same other image of the batch, and turn integer labels into soft
            ones.
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
    def mixes(self):
        """Whether images are mixed with each other."""
        return bool(self.mixup or self.cutmix)

    @property
    def softens_labels(self):
        """Whether labels become soft ones `(batch, num_classes)`."""
        return bool(self.mixes or self.label_smoothing)

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
