"""Photos in folders, one folder per class."""

import os
import pathlib
import warnings

import numpy as np

from keras_ffl.data.photos.files import PhotoFiles
from keras_ffl.data.photos.photo_dataset import (
    PhotoDataset,
    PhotoOptions,
    photo_info,
)
from keras_ffl.data.photos.readable import without_unreadable
from keras_ffl.errors import InputError, printable

PHOTO_SUFFIXES = (".jpeg", ".jpg", ".png")


def from_folder(root, options=PhotoOptions()):
    """Makes a data set from `<root>/{train,val}/<class>/*`.

    Photos are the files whose names end with .jpeg, .jpg or .png in any case;
    their content tells their format. The classes are the folders in `train`,
    sorted by name. Hidden files are skipped silently, all others with a
    warning. Files are read here only if `options.verify` asks for it.

    Args:
        root: Path of the folder.
        options: `PhotoOptions`.

    Returns:
        A `PhotoDataset`, normalised by ImageNet's mean and standard deviation.

    Raises:
        InputError: A folder is missing or empty, a class of `val` is not
            in `train`, or a file can't be decoded and `options.verify` is
            "stop".
    """
    root = _existing_folder(root)
    ignored = []
    train = _names_by_class(root, "train", ignored)
    test = _names_by_class(root, "val", ignored)
    if ignored:
        warnings.warn(
            f"{root}: ignored {len(ignored)} entries whose names are not those "
            f"of photos, the first is {ignored[0]}",
            UserWarning,
            stacklevel=2,
        )
    classes = tuple(train)
    unknown = [label for label in test if label not in train]
    if unknown:
        raise InputError(
            f"`data_dir`: every class in {root / 'val'} must be in "
            f"{root / 'train'}, got {', '.join(unknown)}"
        )
    splits = [_as_files(root, names, classes) for names in (train, test)]
    splits, left_out = without_unreadable(splits, options, str(root))
    _check_classes(splits[0], classes)
    if not len(splits[1]):
        raise InputError(f"`data_dir`: no file in {root}/val can be decoded")
    info = photo_info(
        "imagefolder",
        [printable(name) for name in classes],
        options.image_size,
        left_out,
    )
    return PhotoDataset(info, *splits)


# ----- folders --------------------------------------------------------------


def _existing_folder(root):
    if root is None:
        raise InputError(
            "`data_dir` must be the folder that holds train and val, got None"
        )
    root = pathlib.Path(os.path.expanduser(root))
    if not root.is_dir():
        raise InputError(f"`data_dir` must be an existing folder, got {root}")
    return root


def _visible(folder):
    entries = (e for e in os.scandir(folder) if not e.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _names_by_class(root, split, ignored):
    """Returns a dict from classes to paths relative to `root`, sorted."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(
            f"`data_dir` must hold a folder {split}, got {root} without it"
        )
    names = {}
    for entry in _visible(folder):
        if entry.is_dir():
            names[entry.name] = _names(entry, split, ignored)
        else:
            ignored.append(f"{split}/{entry.name}")
    if not names:
        raise InputError(
            f"`data_dir` must hold images in {folder}/<class>/, got no class "
            "folder"
        )
    return names


def _names(folder, split, ignored):
    names = []
    for entry in _visible(folder.path):
        # A link to nothing is named when it is read.
        is_file = entry.is_file() or not os.path.exists(entry.path)
        is_photo = entry.name.lower().endswith(PHOTO_SUFFIXES) and is_file
        (names if is_photo else ignored).append(
            f"{split}/{folder.name}/{entry.name}"
        )
    if not names:
        raise InputError(
            "`data_dir` must hold .jpeg, .jpg or .png files in every class "
            f"folder, got none in {folder.path}"
        )
    return names


def _as_files(root, names, classes):
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers[label] for label in names]
    counts = [len(of_class) for of_class in names.values()]
    return PhotoFiles(
        str(root),
        np.array([n for of_class in names.values() for n in of_class], object),
        np.repeat(np.array(labels, "int64"), counts),
    )


def _check_classes(train, classes):
    counts = np.bincount(train.labels, minlength=len(classes))
    if not counts.all():
        raise InputError(
            f"`data_dir`: no file in {train.root}/train/"
            f"{classes[counts.argmin()]} can be decoded"
        )
