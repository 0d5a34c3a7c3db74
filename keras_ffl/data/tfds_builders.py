"""Data sets prepared by tensorflow-datasets."""

import os
import re

from keras_ffl.errors import InputError, one_line


def prepared_builder(name, data_dir):
    """Makes a data set's builder and downloads missing data.

    Args:
        name: Str, its name in tensorflow-datasets.
        data_dir: Folder of tensorflow-datasets, or None for its default.

    Returns:
        `tfds.core.DatasetBuilder`.

    Raises:
        InputError: The folder does not exist, or the data set can neither
            be found nor downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"`dataset` {name!r} needs the package tensorflow-datasets, "
            f"which can't be imported: {_first_line(error)}"
        ) from error
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
        if not os.path.isdir(data_dir):
            raise InputError(
                f"`data_dir` must be an existing folder, got {data_dir}"
            )
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:
        folder = data_dir or "the default folder of tensorflow-datasets"
        raise damaged(name, folder, error) from error
    if not builder.data_path.exists():
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InputError(
                f"`dataset` {name!r} is not in {builder.data_path} and can't "
                f"be downloaded and prepared: {_why(builder, error)}"
            ) from error
    return builder


def check_complete(builder):
    """Raises `FileNotFoundError` if a file of the description is missing."""
    for file in ("dataset_info.json", "label.labels.txt"):
        if not (builder.data_path / file).exists():
            raise FileNotFoundError(f"{file} is missing")


def damaged(name, folder, error):
    """Returns the `InputError` for a data set that can't be read."""
    return InputError(
        f"`dataset` {name!r} in {folder} is incomplete or damaged "
        f"({_first_line(error)}): delete its folder and prepare it again"
    )


def _why(builder, error):
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        # The lines after the first say which files belong where.
        return one_line(error)
    return _first_line(error)


def _first_line(error):
    """Returns an exception's type and first line, without graph nodes."""
    text = re.sub(r"^\{\{.*?\}\}\s*", "", str(error)).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
