"""Prepares another data set for a trained network."""

import dataclasses

import numpy as np
from keras import ops

from keras_ffl import data
from keras_ffl.errors import InputError


def target_data(name, source, data_dir=None):
    """Loads another data set in the form that a trained network takes.

    Images are resized (bilinear, antialiased, ignoring the aspect ratio), and
    photos are cropped to their centre and resized without antialiasing, as in
    training. Grey images become three equal channels, and all are normalised
    like the network's training images.

    Args:
        name: Str, a key of `keras_ffl.data.DATASETS`.
        source: `keras_ffl.data.DatasetInfo` of the network's own data.
        data_dir: As in `keras_ffl.data.load`.

    Returns:
        `keras_ffl.data.Dataset` with the network's image shape.

    Raises:
        InputError: The data set is unknown or can't be loaded, or it is in
            colour but the network takes grey images.
    """
    shape = source.input_shape
    photos = data.PhotoOptions(image_size=max(shape[:2]))
    found = data.load(name, data_dir, photos)
    with data.naming_unreadable():
        splits = data.sample_training(found), data.sample_test(found)
    channels = found.info.input_shape[-1]
    if channels not in (1, shape[-1]):
        raise InputError(
            f"`dataset` must have images of 1 or {shape[-1]} channels for "
            f"this network, got {name} with {channels}"
        )
    (x_train, y_train), (x_test, y_test) = splits
    info = dataclasses.replace(
        found.info,
        input_shape=shape,
        mean=source.mean,
        std=source.std,
        central_crop=None,
    )
    return data.Dataset(
        info, _fitted(x_train, shape), y_train, _fitted(x_test, shape), y_test
    )


def _resized(images, size):
    resized = ops.image.resize(
        images.astype("float32"),
        size,
        antialias=True,
        data_format="channels_last",
    )
    resized = ops.convert_to_numpy(resized)
    return np.rint(np.clip(resized, 0, 255)).astype("uint8")


def _fitted(images, shape):
    if images.shape[1:3] != shape[:2]:
        # In parts, because results are float32.
        parts = np.array_split(images, len(images) // 1000 + 1)
        images = np.concatenate([_resized(part, shape[:2]) for part in parts])
    repeats = shape[-1] // images.shape[-1]
    return np.repeat(images, repeats, axis=-1)
