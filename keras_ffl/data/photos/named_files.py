"""Image files named individually by the user."""

import pathlib

import numpy as np

from keras_ffl.data.photos.decoding import decode_image
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf


def read_images(paths, info):
    """Reads image files of any size for the networks of a data set.

    Args:
        paths: Sequence of paths, at least one.
        info: `DatasetInfo`.

    Returns:
        uint8 array (n, height, width, channels).

    Raises:
        InputError: `paths` is empty, or a file can't be read or decoded
            (JPEG, PNG, GIF or BMP).
    """
    if not paths:
        raise InputError("`images` must name at least one file, got none")
    return np.stack([_read(pathlib.Path(path), info) for path in paths])


def _read(path, info):
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"`images`: {path} can't be read: {error.strerror}"
        ) from error
    try:
        return decode_image(encoded, info).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"`images`: {path} can't be decoded as a JPEG, PNG, GIF or BMP "
            f"image (channels: {info.input_shape[-1]})"
        ) from error
