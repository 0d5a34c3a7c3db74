"""Photos in folders, one folder a class."""

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

_SUFFIXES = (".jpeg", ".jpg", ".png")


def from_folder(root, options=PhotoOptions()):
    """Makes a data set of `<root>/{train,val}/<class>/*`.

    Photos are the files whose names end with .jpeg, .jpg or .png in any case;
    what they are is told by their content. The classes are the folders in
    `train`, sorted by name. Hidden files are passed over, other ones with a
    warning. No file is read here, unless they are to be verified.

    Args:
        root: Path of the folder.
        options: `PhotoOptions`.

    Returns:
        A `PhotoDataset`, normalised by ImageNet's mean and standard deviation.

    Raises:
        InputError: If a folder is missing or empty, a class of `val` is not
            in `train`, or, with `options.verify` "stop", a file can't be
            decoded.
    """
    root = _existing_folder(root)
    ignored = []
    train = _names_by_class(root, "train", ignored)
    test = _names_by_class(root, "val", ignored)
    if ignored:
        warnings.warn(
            f"{root}: {len(ignored)} entries that are no photos by their name "
            f"are ignored, the first is {ignored[0]}",
            UserWarning,
            stacklevel=2,
        )
    classes = tuple(train)
    unknown = [label for label in test if label not in train]
    if unknown:
        raise InputError(
            f"data_dir: expected no class in {root / 'val'} that "
            f"{root / 'train'} lacks, got {', '.join(unknown)}"
        )
    splits = [_as_files(root, names, classes) for names in (train, test)]
    splits, left_out = without_unreadable(splits, options, str(root))
    _check_classes(splits[0], classes)
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
            "data_dir: expected the folder that holds train and val, got none"
        )
    root = pathlib.Path(os.path.expanduser(root))
    if not root.is_dir():
        raise InputError(f"data_dir: expected an existing folder, got {root}")
    return root


def _visible(folder):
    entries = (e for e in os.scandir(folder) if not e.name.startswith("."))
    return sorted(entries, key=lambda entry: entry.name)


def _names_by_class(root, split, ignored):
    """Returns names relative to `root` by class, all sorted."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(
            f"data_dir: expected a folder {split} in {root}, got none"
        )
    names = {}
    for entry in _visible(folder):
        if entry.is_dir():
            names[entry.name] = _names(entry, split, ignored)
        else:
            ignored.append(f"{split}/{entry.name}")
    if not names:
        raise InputError(
            f"data_dir: expected images in {folder}/<class>/, got no class "
            "folder"
        )
    return names


def _names(folder, split, ignored):
    names = []
    for entry in _visible(folder.path):
        is_photo = entry.name.lower().endswith(_SUFFIXES) and entry.is_file()
        (names if is_photo else ignored).append(
            f"{split}/{folder.name}/{entry.name}"
        )
    if not names:
        raise InputError(
            f"data_dir: expected .jpeg, .jpg or .png files in every class "
            f"folder, got none in {folder.path}"
        )
    return names


def _as_files(root, names, classes):
    labels = [classes.index(label) for label in names]
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
            f"data_dir: no file in {train.root}/train/"
            f"{classes[counts.argmin()]} can be decoded"
        )
