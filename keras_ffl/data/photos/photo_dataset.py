"""Data sets of encoded photos that are decoded when they are needed."""

import dataclasses

from keras_ffl.data.batched_splits import BatchedSplits
from keras_ffl.data.info import DatasetInfo
from keras_ffl.data.photos.files import EncodedPhotos
from keras_ffl.errors import InputError

# Of ImageNet, in 0..255.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
# Evaluation shows 224 pixels of a photo whose shorter side has 256.
_CENTRAL_CROP = 224 / 256


@dataclasses.dataclass(frozen=True)
class PhotoOptions:
    """How a data set of photos is read.

    Args:
        image_size: Integer >= 8, height and width of the prepared images.
        verify: "skip" to decode every file once and to leave out those that
            can't be decoded, with a warning that names them, "stop" for an
            error instead, "no" for neither.
        left_out: Sequence of the names that an earlier verification left out
            (`DatasetInfo.left_out`). With it nothing is verified again.

    Raises:
        InputError: If `image_size` is too small.
    """

    image_size: int = 224
    verify: str = "no"
    left_out: tuple | None = None

    def __post_init__(self):
        if self.verify not in ("no", "skip", "stop"):
            raise InputError(
                f"verify: expected no, skip or stop, got {self.verify!r}"
            )
        if not isinstance(self.image_size, int) or self.image_size < 8:
            raise InputError(
                f"image_size: expected an integer >= 8, got {self.image_size!r}"
            )


def photo_info(name, class_names, image_size, left_out=()):
    """Makes the `DatasetInfo` of photos, which are prepared as ImageNet's.

    Args:
        name: String, the data set's name.
        class_names: Sequence of strings.
        image_size: Integer, height and width of the prepared images.
        left_out: Names of the photos that are not used.

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
    """Training and test photos that are read and decoded when needed.

    In training a random-resized crop takes the place of an augmentation's
    padding and crop. In evaluation the square in the centre is shown whose
    side is `info.central_crop` of the photo's shorter one.

    Args:
        info: `DatasetInfo`.
        train: `EncodedPhotos`.
        test: `EncodedPhotos`.
    """

    info: DatasetInfo
    train: EncodedPhotos
    test: EncodedPhotos

    @property
    def y_train(self):
        """Integer labels of the training split."""
        return self.train.labels

    @property
    def y_test(self):
        """Integer labels of the test split."""
        return self.test.labels

    def with_test(self, indices):
        """The data set with some of its test examples only.

        Args:
            indices: Integer array.

        Returns:
            `PhotoDataset`.
        """
        return dataclasses.replace(self, test=self.test.take(indices))

    def divided(self, kept, held_out):
        """Two data sets from the training split.

        Args:
            kept: Integer array, the training examples that stay.
            held_out: Integer array, the training examples that are the test
                split of the second data set.

        Returns:
            Tuple of two `PhotoDataset`; both train on what is kept.
        """
        rest = dataclasses.replace(self, train=self.train.take(kept))
        return rest, dataclasses.replace(rest, test=self.train.take(held_out))
