"""Data sets of encoded photos that are decoded on demand."""

import dataclasses

from keras_ffl.data.batched_splits import BatchedSplits
from keras_ffl.data.info import DatasetInfo
from keras_ffl.data.photos.files import EncodedPhotos, PhotoFiles
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels

# ImageNet's, for pixels in 0..255.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
# Evaluation crops 224 pixels from a photo whose shorter side has 256.
_CENTRAL_CROP = 224 / 256


@dataclasses.dataclass(frozen=True)
class PhotoOptions:
    """How a data set of photos is read.

    Args:
        image_size: Int >= 8, height and width of the prepared images.
        verify: "skip" decodes every file once, leaves out those that can't
            be decoded and names them in a warning; "stop" raises an error
            instead; "no" does neither.
        left_out: Sequence of the names that an earlier verification left out
            (`DatasetInfo.left_out`). If given, nothing is verified again.

    Raises:
        InputError: `verify` is unknown or `image_size` is too small.
    """

    image_size: int = 224
    verify: str = "no"
    left_out: tuple | None = None

    def __post_init__(self):
        if self.verify not in ("no", "skip", "stop"):
            raise InputError(
                f"`verify` must be no, skip or stop, got {self.verify!r}"
            )
        if not isinstance(self.image_size, int) or self.image_size < 8:
            raise InputError(
                f"`image_size` must be an int >= 8, got {self.image_size!r}"
            )


def photo_info(name, class_names, image_size, left_out=()):
    """Makes the `DatasetInfo` of photos that are prepared like ImageNet's.

    Args:
        name: Str, the data set's name.
        class_names: Sequence of str.
        image_size: Int, height and width of the prepared images.
        left_out: Names of the photos that are left out.

    Returns:
        `DatasetInfo`.
    """
    return DatasetInfo(
        name,
        len(class_names),
        (image_size, image_size, 3),
        class_names,
        _MEAN,
        _STD,
        flip=True,
        central_crop=_CENTRAL_CROP,
        left_out=left_out,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoDataset(BatchedSplits):
    """Training and test photos that are read and decoded on demand.

    In training a random-resized crop replaces the augmentation's padding and
    crop. Evaluation uses the central square whose side is `info.central_crop`
    of the photo's shorter side.

    Args:
        info: `DatasetInfo`.
        train: `EncodedPhotos`.
        test: `EncodedPhotos`.

    Raises:
        InputError: `info` has no `central_crop`, or the label of a file is
            none of its classes.
    """

    info: DatasetInfo
    train: EncodedPhotos
    test: EncodedPhotos

    def __post_init__(self):
        if not self.info.central_crop:
            raise InputError(
                "`info` of photos must have a `central_crop`, got None"
            )
        for split in ("train", "test"):
            photos = getattr(self, split)
            # Those in records have not been read yet.
            if isinstance(photos, PhotoFiles):
                check_labels(photos.labels, self.info.num_classes, f"y_{split}")

    @property
    def y_train(self):
        """Integer labels of the training split."""
        return self.train.labels

    @property
    def y_test(self):
        """Integer labels of the test split."""
        return self.test.labels

    def divided(self, kept, held_out):
        """As in `keras_ffl.data.Dataset`; returns two `PhotoDataset`."""
        rest = dataclasses.replace(self, train=self.train.take(kept))
        return rest, dataclasses.replace(rest, test=self.train.take(held_out))
