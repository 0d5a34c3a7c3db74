"""Data sets as NumPy arrays, with what is known about each of them."""

import dataclasses

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels

# Of classes, where only what the labels are made of is to be checked.
_ANY_NUMBER = np.iinfo("int32").max


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set besides its images.

    It goes into a run's config and into the exported models, which need the
    class names and the normalisation.

    Args:
        name: String, the data set's name.
        num_classes: Integer.
        input_shape: Tuple `(height, width, channels)`.
        class_names: Tuple of `num_classes` strings.
        mean: Tuple of one float per channel, in units of 0..255.
        std: Tuple of one positive float per channel, in units of 0..255.
        flip: Boolean, whether a horizontal flip belongs to its training
            recipe (a mirrored digit is not a digit).

    Raises:
        InputError: If the fields contradict each other.
    """

    name: str
    num_classes: int
    input_shape: tuple
    class_names: tuple
    mean: tuple
    std: tuple
    flip: bool

    def __post_init__(self):
        for field in ("input_shape", "class_names", "mean", "std"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        channels = self.input_shape[-1]
        lengths = {
            "input_shape": 3,
            "class_names": self.num_classes,
            "mean": channels,
            "std": channels,
        }
        for field, length in lengths.items():
            if len(getattr(self, field)) != length:
                raise InputError(
                    f"{field} of data set {self.name!r}: expected {length} "
                    f"entries, got {len(getattr(self, field))}"
                )
        if min(self.std) <= 0:
            raise InputError(
                f"std of data set {self.name!r}: expected positive values, "
                f"got {self.std}"
            )

    def to_dict(self):
        """Returns the fields as a dict that JSON can hold."""
        return {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields):
        """Returns the `DatasetInfo` whose `to_dict` gave `fields`."""
        known = [field.name for field in dataclasses.fields(cls)]
        if sorted(fields) != sorted(known):
            raise InputError(
                f"fields of a data set's info: expected {known}, "
                f"got {list(fields)}"
            )
        return cls(**fields)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images in memory.

    Args:
        info: `DatasetInfo`.
        x_train: uint8 array `(n, height, width, channels)`.
        y_train: Integer array `(n,)`, or float array `(n, num_classes)` of
            one-hot or soft labels.
        x_test: uint8 array `(m, height, width, channels)`.
        y_test: As `y_train`, of length `m`.
    """

    info: DatasetInfo
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


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
    """Makes a `Dataset` of anyone's arrays.

    Mean and standard deviation are measured per channel on `x_train`.

    Args:
        x_train: Images `(n, height, width, channels)`, whole numbers in
            0..255 of any integer or float type.
        y_train: Integer labels `(n,)` or `(n, 1)`, or one-hot or soft labels
            `(n, num_classes)`.
        x_test: Images as `x_train`, `(m, height, width, channels)`.
        y_test: Labels as `y_train`, of length `m`.
        class_names: Sequence of strings. Defaults to the class numbers.
        num_classes: Integer. Defaults to the number of class names, else to
            what the labels show.
        flip: Boolean, whether a horizontal flip suits these images.
        name: String.

    Returns:
        A `Dataset`.

    Raises:
        InputError: If images or labels are not as described above, or
            arrays, `class_names` and `num_classes` don't fit together.
    """
    x_train = _as_images(x_train, "x_train")
    x_test = _as_images(x_test, "x_test")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"x_test: expected images of x_train's shape "
            f"{x_train.shape[1:]}, got {x_test.shape[1:]}"
        )
    y_train, y_test = _squeezed(y_train), _squeezed(y_test)
    if num_classes is None:
        num_classes = _count_classes(y_train, y_test, class_names)
    for x, y, split in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        check_labels(y, num_classes, f"y_{split}")
        if len(x) != len(y):
            raise InputError(
                f"y_{split}: expected {len(x)} labels, one for every image "
                f"in x_{split}, got {len(y)}"
            )
    y_train, y_test = (
        y.astype("int64") if y.ndim == 1 else y for y in (y_train, y_test)
    )
    pixels = x_train.reshape(-1, x_train.shape[-1])
    info = DatasetInfo(
        name=name,
        num_classes=num_classes,
        input_shape=x_train.shape[1:],
        class_names=[str(i) for i in range(num_classes)]
        if class_names is None
        else class_names,
        mean=pixels.mean(axis=0, dtype="float64").tolist(),
        # A channel that never varies carries nothing and is not scaled.
        std=[s or 1.0 for s in pixels.std(axis=0, dtype="float64").tolist()],
        flip=flip,
    )
    return Dataset(info, x_train, y_train, x_test, y_test)


def _as_images(x, argument):
    """Returns `x` as uint8 images if that changes no value."""
    x = np.asarray(x)
    if x.ndim != 4 or x.size == 0 or x.dtype.kind not in "iuf":
        raise InputError(
            f"{argument}: expected images (n, height, width, channels) of "
            f"numbers, got shape {x.shape} of {x.dtype}"
        )
    if x.dtype == np.uint8:
        return x
    # A comparison with NaN is false, so this refuses NaN as well.
    if not (x.min() >= 0 and x.max() <= 255):
        raise InputError(
            f"{argument}: expected pixel values in 0..255, got "
            f"{x.min()}..{x.max()}"
        )
    images = x.astype("uint8")
    if not np.array_equal(images, x):
        raise InputError(
            f"{argument}: expected whole numbers in 0..255, got fractions; "
            "scale images of 0..1 by 255 and round them with np.rint"
        )
    return images


def _squeezed(y):
    """Returns labels as an array, a column as a vector."""
    y = np.asarray(y)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _count_classes(y_train, y_test, class_names):
    if class_names is not None:
        return len(class_names)
    if y_train.ndim == 2:
        return y_train.shape[1]
    for y, argument in ((y_train, "y_train"), (y_test, "y_test")):
        check_labels(y, _ANY_NUMBER, argument)
    return int(max(y.max(initial=0) for y in (y_train, y_test))) + 1


def split_holdout(dataset, fraction, seed=0):
    """Takes a part out of the training images, for choosing things by it.

    The classes keep their shares in both parts, and both keep their order.
    Mean and standard deviation stay as they are.

    Args:
        dataset: `Dataset`.
        fraction: Float in [0, 1), the part of the training images to take.
        seed: Integer, decides which images are taken.

    Returns:
        Tuple `(dataset, x_holdout, y_holdout)`; the arrays are `None` at
        `fraction=0`.

    Raises:
        InputError: If `fraction` is outside [0, 1) or leaves a class out of
            one of the parts.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"holdout: expected 0 <= holdout < 1, got {fraction}")
    if fraction == 0:
        return dataset, None, None
    from sklearn.model_selection import train_test_split

    y = dataset.y_train
    try:
        kept, held_out = train_test_split(
            np.arange(len(y)),
            test_size=float(fraction),
            random_state=seed,
            stratify=y if y.ndim == 1 else y.argmax(axis=1),
        )
    except ValueError as error:
        raise InputError(
            f"holdout: {fraction} of {len(y)} images of "
            f"{dataset.info.num_classes} classes can't be held out by class: "
            f"{error}"
        ) from error
    kept.sort()
    held_out.sort()
    rest = dataclasses.replace(
        dataset, x_train=dataset.x_train[kept], y_train=y[kept]
    )
    return rest, dataset.x_train[held_out], y[held_out]
