"""Data sets by name."""

import dataclasses
import functools
import math
import warnings

import numpy as np

from keras_ffl.data.arrays.array_dataset import Dataset, from_arrays
from keras_ffl.data.arrays.npz import read_npz
from keras_ffl.data.info import DatasetInfo
from keras_ffl.data.photos.folder import from_folder
from keras_ffl.data.photos.imagenet import imagenet2012
from keras_ffl.data.photos.photo_dataset import PhotoOptions
from keras_ffl.data.tf_data import untuned
from keras_ffl.data.tfds_builders import (
    check_complete,
    damaged,
    prepared_builder,
)
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels, classes_of


def load(name, data_dir=None, photos=PhotoOptions()):
    """Loads a data set by name.

    `digits` comes with scikit-learn, `npz` reads a file of your own arrays
    (`keras_ffl.data.read_npz`) and `imagefolder` a folder of your own photos
    (`keras_ffl.data.from_folder`). tensorflow-datasets reads the others, and
    downloads them if necessary, unless `data_dir` is a `.npz` file.

    Args:
        name: Str, a key of `DATASETS`.
        data_dir: The folder of tensorflow-datasets, None for its default.
            For `imagefolder` the folder that holds `train` and `val`, for
            `npz` the file. CIFAR and Fashion-MNIST also take a `.npz` file.
            None for `digits`.
        photos: `PhotoOptions`, ignored by data sets of arrays.

    Returns:
        A `Dataset`, or a `PhotoDataset` for photos, with integer labels,
        always in the same order.

    Raises:
        InputError: The name is unknown, the folder does not exist or has no
            meaning, the data set can neither be found nor downloaded, or the
            folder's content is incomplete.
    """
    if name not in DATASETS:
        raise InputError(
            f"`dataset` must be one of {', '.join(DATASETS)}, got {name!r}"
        )
    return DATASETS[name](data_dir, photos)


def _digits(data_dir, photos):
    if data_dir is not None:
        raise InputError(
            f"`data_dir` has no meaning for `dataset` digits, got {data_dir!r}"
        )
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        _enlarge_digits(digits.images),
        digits.target,
        test_size=0.2,
        random_state=0,
        stratify=digits.target,
    )
    return from_arrays(x_train, y_train, x_test, y_test, name="digits")


def _enlarge_digits(images):
    """Enlarges 8x8 images in 0..16 to uint8 images, 16x16, in 0..255."""
    for axis in (1, 2):
        images = _doubled(images, axis)
    # In float32, as in TensorFlow: some values are exact halves.
    enlarged = images[..., np.newaxis].astype("float32")
    return np.rint(enlarged * np.float32(255 / 16)).astype("uint8")


def _doubled(images, axis):
    """Doubles the size of an axis by bilinear interpolation."""
    last = images.shape[axis] - 1
    here = np.arange(last + 1)
    before = images.take(np.maximum(here - 1, 0), axis)
    after = images.take(np.minimum(here + 1, last), axis)
    pairs = [(images * 3 + other) / 4 for other in (before, after)]
    shape = list(images.shape)
    shape[axis] *= 2
    return np.stack(pairs, axis + 1).reshape(shape)


def _npz(data_dir, photos):
    if data_dir is None:
        raise InputError("`data_dir` must be a .npz file for `dataset` npz")
    return from_arrays(**read_npz(data_dir), name="npz")


def _known_arrays(name, num_classes, mean, std, data_dir, photos):
    """Loads a data set whose mean and standard deviation are known."""
    if str(data_dir).endswith(".npz"):
        arrays = read_npz(data_dir)
        dataset = from_arrays(
            **arrays, num_classes=num_classes, flip=True, name=name
        )
        largest = int(classes_of(dataset.y_train).max())
        if largest + 1 < num_classes:
            warnings.warn(
                f"`data_dir`: the labels in {data_dir} go up to {largest}, "
                f"but {name} has {num_classes} classes",
                stacklevel=3,
            )
        info = dataclasses.replace(dataset.info, mean=mean, std=std)
        return dataclasses.replace(dataset, info=info)
    return _from_tfds(name, num_classes, mean, std, data_dir)


def _from_tfds(name, num_classes, mean, std, data_dir):
    builder = prepared_builder(name, data_dir)
    try:
        check_complete(builder)
        info = DatasetInfo(
            name,
            num_classes,
            builder.info.features["image"].shape,
            builder.info.features["label"].names,
            mean,
            std,
            flip=True,
        )
        train = _read_split(builder, "train")
        test = _read_split(builder, "test")
    # JSON, protobuf, record reader and decoder all fail differently.
    except Exception as error:
        raise damaged(name, builder.data_path, error) from error
    for split, labels in (("train", train[1]), ("test", test[1])):
        check_labels(labels, num_classes, f"labels of {name} ({split})")
    return Dataset(info, *train, *test)


def _read_split(builder, split, batch_size=1000):
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    dataset = builder.as_dataset(
        split=split,
        batch_size=batch_size,
        as_supervised=True,
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    batches = tqdm(
        tfds.as_numpy(untuned(dataset)),
        desc=f"Reading {builder.name} {split}",
        total=math.ceil(builder.info.splits[split].num_examples / batch_size),
        # None shows the bar on terminals only.
        disable=None,
    )
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


DATASETS = {
    "digits": _digits,
    "fashion_mnist": functools.partial(
        _known_arrays, "fashion_mnist", 10, (72.9,), (90.0,)
    ),
    "cifar10": functools.partial(
        _known_arrays, "cifar10", 10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    ),
    "cifar100": functools.partial(
        _known_arrays,
        "cifar100",
        100,
        (129.3, 124.1, 112.4),
        (68.2, 65.4, 70.4),
    ),
    "npz": _npz,
    "imagefolder": from_folder,
    "imagenet2012": imagenet2012,
}
"""Functions from a `data_dir` to a data set, by their names for `load`."""
