"""The augmentation of training images."""

import dataclasses

from keras_ffl.errors import InputError
from keras_ffl.number_checks import check_bool, check_int, check_number


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images.

    In order: padding, horizontal flip, random crop to the original size,
    RandAugment, cutout, CutMix, MixUp. The defaults are the method's recipe
    for CIFAR; for a given data set use `Augmentation(flip=info.flip)`.

    Args:
        pad: Int >= 0, pixels added on every side before the crop.
        padding: `"reflect"` (without repeating the edge) or `"constant"`
            (black).
        flip: Bool, whether each image is mirrored with probability 1/2.
        cutout: Int >= 0, side in pixels of a square that is filled with
            the data set's mean. Its centre is anywhere in the image, so the
            square may extend beyond it (DeVries & Taylor, 2017).
        randaugment: Magnitude in 0..10 of two random operations of
            RandAugment (Cubuk et al., 2020); 0 is none. Images of three
            channels only.
        mixup: Float >= 0, alpha of MixUp (Zhang et al., 2018); 0 is none.
        cutmix: Float >= 0, alpha of CutMix (Yun et al., 2019); 0 is none.
            MixUp and CutMix draw a weight and a box for each image, mix it
            with the same partner from its batch, and turn integer labels
            into soft ones.
        label_smoothing: Float in [0, 1), the fraction of every label that
            is spread evenly over all classes (Szegedy et al., 2016); it turns
            integer labels into soft ones.

    Raises:
        InputError: A value is outside its range.
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
            check_int(name, getattr(self, name), 0)
        if self.padding not in ("reflect", "constant"):
            raise InputError(
                "`padding` must be 'reflect' or 'constant', "
                f"got {self.padding!r}"
            )
        if not 0 <= check_number("randaugment", self.randaugment) <= 10:
            raise InputError(
                "`randaugment` must be a magnitude in 0..10, "
                f"got {self.randaugment!r}"
            )
        check_bool("flip", self.flip)
        for name in ("mixup", "cutmix"):
            check_number(name, getattr(self, name))
        if not 0 <= check_number("label_smoothing", self.label_smoothing) < 1:
            raise InputError(
                "`label_smoothing` must be in [0, 1), "
                f"got {self.label_smoothing!r}"
            )

    @property
    def mixes(self):
        """Whether images are mixed with each other."""
        return bool(self.mixup or self.cutmix)

    @property
    def draws(self):
        """Whether it draws random numbers."""
        changes = self.pad, self.flip, self.cutout, self.randaugment
        return any(changes) or self.mixes

    @property
    def softens_labels(self):
        """Whether labels become soft ones (batch, num_classes)."""
        return bool(self.mixes or self.label_smoothing)

    def check_input_shape(self, input_shape):
        """Checks that images of a shape can be augmented this way.

        Args:
            input_shape: Tuple (height, width, channels).

        Raises:
            InputError: They can't.
        """
        height, width, channels = input_shape
        if self.padding == "reflect" and self.pad >= min(height, width):
            raise InputError(
                "`pad` must be less than the image's size "
                f"{height}x{width} for padding='reflect', got {self.pad}"
            )
        if self.randaugment and channels != 3:
            raise InputError(
                f"`randaugment` needs images of 3 channels, got {channels}"
            )
