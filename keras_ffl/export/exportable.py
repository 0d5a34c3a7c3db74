"""Checks before a head is exported."""

import numpy as np

from keras_ffl import backend
from keras_ffl.errors import InputError
from keras_ffl.tasks.task import fits


def check_backend(name):
    """Raises `InputError` unless Keras' backend can write a format."""
    if backend.NAME != "tensorflow":
        raise InputError(
            f"`format` {name} is written by TensorFlow, got Keras' backend "
            f"{backend.NAME}: save the model, load it with "
            "KERAS_BACKEND=tensorflow and export it there, as "
            "`keras-ffl export` does"
        )


def check_info(model, info):
    """Checks that a data set's description fits a model.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        info: `keras_ffl.data.DatasetInfo`. A height or width of None, for
            images of any size, needs a model that takes them.

    Raises:
        InputError: Classes, channels or sizes differ, or the model takes
            integers.
    """
    if "int" in model.input.dtype:
        raise InputError(
            "`model` must take floats, the images that `info` normalises, got "
            f"one whose input is {model.input.dtype}"
        )
    if info.num_classes != model.num_classes:
        raise InputError(
            f"`info` must have the model's {model.num_classes} classes, got "
            f"{info.num_classes} of data set {info.name!r}"
        )
    shape = model.input_shape[1:]
    if len(shape) != 3 or any(
        size not in (None, given)
        for size, given in zip(shape, info.input_shape)
    ):
        raise InputError(
            f"`info` must have the model's image shape {shape}, got "
            f"{info.input_shape} of data set {info.name!r}"
        )
    if info.central_crop and None in info.input_shape:
        raise InputError(
            "`info` must have a height and width if photos are cropped to "
            f"their centre, got {info.input_shape} of data set {info.name!r}"
        )


def check_images(images, info, argument):
    """Checks unnormalised images of a data set.

    Args:
        images: Value to check: uint8 array (n, h, w, channels), n >= 1.
        info: `keras_ffl.data.DatasetInfo`.
        argument: Str, name of the images in the message.

    Raises:
        InputError: `images` is not such an array.
    """
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or not fits(images.shape[1:], info.input_shape)
        or not len(images)
    ):
        got = (
            f"shape {images.shape} of {images.dtype}"
            if isinstance(images, np.ndarray)
            else repr(images)
        )
        raise InputError(
            f"`{argument}` must be uint8 images (n, *{info.input_shape}), "
            f"got {got}"
        )
