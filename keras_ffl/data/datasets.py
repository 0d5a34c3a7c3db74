"""Data sets by name."""

import functools
import math
import os
import re

import numpy as np

from keras_ffl.data.arrays import Dataset, DatasetInfo, from_arrays
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels


def load(name, data_dir=None):
    """Loads a data set by its name.

    `digits` comes with scikit-learn; the others are read, and downloaded
    where they are not there yet, by tensorflow-datasets.

    Args:
        name: String, a key of `DATASETS`.
        data_dir: Folder that tensorflow-datasets keeps its data sets in.
            `None` is its own default folder. `digits` has no use for it.

    Returns:
        A `Dataset` with integer labels, always in the same order.

    Raises:
        InputError: If the name is unknown, the folder does not exist, the
            data set can neither be found nor downloaded, or what is in the
            folder is incomplete.
    """
    if name not in DATASETS:
        raise InputError(
            f"dataset: expected one of {', '.join(DATASETS)}, got {name!r}"
        )
    return DATASETS[name](data_dir)


def _digits(_):
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
    """Turns 8x8 images of 0..16 into uint8 ones of 16x16 and 0..255."""
    import tensorflow as tf

    enlarged = tf.image.resize(images[..., np.newaxis], (16, 16), "bilinear")
    return np.rint(enlarged.numpy() * (255 / 16)).astype("uint8")


def _from_tfds(name, num_classes, mean, std, data_dir):
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"dataset {name!r} is read by the package tensorflow-datasets, "
            f"which can't be imported: {_first_line(error)}"
        ) from error

    builder = _prepared_builder(tfds, name, data_dir)
    try:
        for file in ("dataset_info.json", "label.labels.txt"):
            if not (builder.data_path / file).exists():
                raise FileNotFoundError(f"{file} is missing")
        info = DatasetInfo(
            name,
            num_classes,
            builder.info.features["image"].shape,
            builder.info.features["label"].names,
            mean,
            std,
            flip=True,
        )
        train = _read_split(tfds, builder, "train")
        test = _read_split(tfds, builder, "test")
    # JSON, protobuf, record reader and decoder each fail in their own way.
    except Exception as error:
        raise _damaged(name, builder.data_path, error) from error
    for split, labels in (("train", train[1]), ("test", test[1])):
        check_labels(labels, num_classes, f"labels of {name} ({split})")
    return Dataset(info, *train, *test)


def _prepared_builder(tfds, name, data_dir):
    """Returns the data set's builder, downloading what is not there."""
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
        if not os.path.isdir(data_dir):
            raise InputError(
                f"data_dir: expected an existing folder, got {data_dir}"
            )
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:
        folder = data_dir or "the default folder of tensorflow-datasets"
        raise _damaged(name, folder, error) from error
    if not builder.data_path.exists():
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InputError(
                f"dataset {name!r} is not in {builder.data_path} and could "
                f"not be downloaded and prepared: {_first_line(error)}"
            ) from error
    return builder


def _damaged(name, folder, error):
    return InputError(
        f"dataset {name!r} in {folder} is incomplete or damaged "
        f"({_first_line(error)}): delete its folder and prepare it again"
    )


def _first_line(error):
    """Returns an exception's type and first line, without graph nodes."""
    text = re.sub(r"^\{\{.*?\}\}\s*", "", str(error)).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def _read_split(tfds, builder, split, batch_size=1000):
    from tqdm import tqdm

    dataset = builder.as_dataset(
        split=split,
        batch_size=batch_size,
        as_supervised=True,
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    batches = tqdm(
        tfds.as_numpy(dataset),
        desc=f"Reading {builder.name} {split}",
        total=math.ceil(builder.info.splits[split].num_examples / batch_size),
        # None: only on a terminal.
        disable=None,
    )
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


DATASETS = {
    "digits": _digits,
    "fashion_mnist": functools.partial(
        _from_tfds, "fashion_mnist", 10, (72.9,), (90.0,)
    ),
    "cifar10": functools.partial(
        _from_tfds, "cifar10", 10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
    ),
    "cifar100": functools.partial(
        _from_tfds, "cifar100", 100, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)
    ),
}
