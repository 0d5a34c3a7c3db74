"""Data sets as NumPy arrays."""

import dataclasses
import warnings

import numpy as np

from keras_ffl.data.arrays.array_examples import Examples
from keras_ffl.data.batched_splits import BatchedSplits
from keras_ffl.data.info import DatasetInfo
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels, classes_of

# As `num_classes`, makes `check_labels` check shape and dtype but no range.
_ANY_NUMBER = np.iinfo("int32").max


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(BatchedSplits):
    """Training and test images in memory.

    Args:
        info: `DatasetInfo`.
        x_train: uint8 array (n, height, width, channels).
        y_train: Integer array (n,), or float array (n, num_classes) of
            one-hot or soft labels.
        x_test: uint8 array (m, height, width, channels).
        y_test: Like `y_train`, of length `m`. Errors are counted by class, so
            rows become integers, the class of each row's largest value.
    """

    info: DatasetInfo
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def __post_init__(self):
        if np.ndim(self.y_test) == 2:
            check_labels(self.y_test, self.info.num_classes, "y_test")
            rows = np.asarray(self.y_test)
            object.__setattr__(self, "y_test", classes_of(rows))

    @property
    def num_train(self):
        """Number of training examples."""
        return len(self.x_train)

    @property
    def train(self):
        """`Examples` of the training split.

        Raises:
            InputError: Images or labels don't fit `info`.
        """
        return Examples.checked(self.x_train, self.y_train, self.info)

    @property
    def test(self):
        """`Examples` of the test split; raises like `train`."""
        return Examples.checked(self.x_test, self.y_test, self.info)

    def divided(self, kept, held_out):
        """Divides the training split into two data sets.

        Args:
            kept: Integer array, the training examples that both data sets
                train on.
            held_out: Integer array, the training examples that become the
                test split of the second data set.

        Returns:
            Tuple of two `Dataset`.
        """
        x, y = self.x_train, self.y_train
        rest = dataclasses.replace(self, x_train=x[kept], y_train=y[kept])
        return rest, dataclasses.replace(
            rest, x_test=x[held_out], y_test=y[held_out]
        )


def from_arrays(
    x_train,
    y_train,
    x_test,
    y_test,
    class_names=None,
    num_classes=None,
    flip=False,
    name="arrays",
):
    """Makes a `Dataset` from arrays.

    Mean and standard deviation are measured per channel on `x_train`.

    Args:
        x_train: Images (n, height, width, channels), whole numbers in
            0..255 of any integer or float type.
        y_train: Integer labels (n,) or (n, 1), or one-hot or soft labels
            (n, num_classes).
        x_test: Images like `x_train`, (m, height, width, channels).
        y_test: Labels like `y_train`, of length `m`; of a row, the class of
            its largest value counts.
        class_names: Sequence of str. Defaults to the class numbers.
        num_classes: Int. Defaults to the number of class names, or else to
            the number that the labels imply.
        flip: Bool, whether horizontal flips suit these images.
        name: Str.

    Returns:
        A `Dataset`.

    Raises:
        InputError: Images or labels are not as described above, or
            arrays, `class_names` and `num_classes` don't fit together.
    """
    x_train = _as_images(x_train, "x_train")
    x_test = _as_images(x_test, "x_test")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            "`x_test` must hold images of the shape of `x_train`'s, "
            f"{x_train.shape[1:]}, got {x_test.shape[1:]}"
        )
    y_train, y_test = _squeezed(y_train), _squeezed(y_test)
    if num_classes is None:
        num_classes = _count_classes(y_train, y_test, class_names)
    for x, y, split in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        check_labels(y, num_classes, f"y_{split}")
        if len(x) != len(y):
            raise InputError(
                f"`y_{split}` must be {len(x)} labels, one for every image "
                f"in `x_{split}`, got {len(y)}"
            )
    y_train, y_test = (
        y.astype("int64") if y.ndim == 1 else y for y in (y_train, y_test)
    )
    mean, std = _moments(x_train)
    info = DatasetInfo(
        name=name,
        num_classes=num_classes,
        input_shape=x_train.shape[1:],
        class_names=[str(i) for i in range(num_classes)]
        if class_names is None
        else class_names,
        mean=mean.tolist(),
        # A constant channel carries no information and is not scaled.
        std=[s or 1.0 for s in std.tolist()],
        flip=flip,
    )
    return Dataset(info, x_train, y_train, x_test, y_test)


def _as_images(x, argument):
    """Returns `x` as uint8 images, provided that no value changes."""
    x = np.asarray(x)
    if x.ndim != 4 or x.size == 0 or x.dtype.kind not in "iuf":
        raise InputError(
            f"`{argument}` must be numeric images (n, height, width, "
            f"channels), got shape {x.shape} of {x.dtype}"
        )
    if x.dtype == np.uint8:
        return x
    # Comparisons with NaN are false, so this rejects NaN as well.
    if not (x.min() >= 0 and x.max() <= 255):
        raise InputError(
            f"`{argument}` must have pixel values in 0..255, got "
            f"{x.min()}..{x.max()}"
        )
    images = x.astype("uint8")
    if not np.array_equal(images, x):
        raise InputError(
            f"`{argument}` must hold whole numbers in 0..255, got fractions; "
            "multiply images in 0..1 by 255 and round them with np.rint"
        )
    return images


def _moments(images):
    """Mean and standard deviation by channel, without a copy in floats."""
    counts = np.zeros((images.shape[-1], 256))
    # In parts, because NumPy counts int64.
    step = max(1, 2**22 // images[0].size)
    for start in range(0, len(images), step):
        channels = np.moveaxis(images[start : start + step], -1, 0)
        for count, pixels in zip(counts, channels):
            count += np.bincount(pixels.ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean, np.sqrt(variance)


def _squeezed(y):
    """Returns labels as an array; a single column becomes a vector."""
    y = np.asarray(y)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _count_classes(y_train, y_test, class_names):
    if class_names is not None:
        return len(class_names)
    for y, argument in ((y_train, "y_train"), (y_test, "y_test")):
        if y.ndim == 2:
            return y.shape[1]
        if y.ndim != 1 or (y.dtype.kind in "if" and y.min(initial=0) < 0):
            raise InputError(
                f"`{argument}` must be integers >= 0 (n,), or rows "
                f"(n, classes), got shape {y.shape} of {y.dtype}"
                + (f", the least {y.min()}" if y.ndim == 1 else "")
            )
        check_labels(y, _ANY_NUMBER, argument)
    count = int(max(y.max(initial=0) for y in (y_train, y_test))) + 1
    if len(np.unique(y_train)) < count:
        warnings.warn(
            f"`y_train` has labels of {len(np.unique(y_train))} classes, but "
            f"the largest label makes {count} of them; number classes from 0 "
            "without gaps, or give `num_classes`",
            UserWarning,
            stacklevel=3,
        )
    return count
