"""Overlays heat maps on their images."""

import numpy as np
from keras import ops

from keras_ffl.optional import matplotlib

# Rec. 601 weights of red, green and blue.
_LUMA = np.array([0.299, 0.587, 0.114], "float32")


def enlarge(images, side):
    """Enlarges small images to a comfortable size.

    Args:
        images: uint8 array (n, h, w, channels). Of more than three channels
            the first three are red, green and blue, of fewer the first is
            grey.
        side: Int, minimum height and width. The factor is an integer, so
            that larger images stay unchanged.

    Returns:
        uint8 array (n, f h, f w, 3).
    """
    count, height, width, channels = images.shape
    factor = max(1, -(-side // min(height, width)))
    if channels < 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    images = images[..., :3]
    if factor == 1 or not count:
        return images
    size = (factor * height, factor * width)
    larger = ops.image.resize(
        images.astype("float32"),
        size,
        interpolation="bicubic",
        data_format="channels_last",
    )
    larger = np.clip(ops.convert_to_numpy(larger), 0, 255)
    return np.rint(larger).astype("uint8")


def heat(maps, size):
    """Scales Grad-CAM maps to [0, 1] and resizes them to an image's size.

    Args:
        maps: Float array (n, h, w), >= 0.
        size: Tuple of the image's height and width.

    Returns:
        float32 array (n, *size) in [0, 1]. A map of zeros stays zero.
    """
    maps = np.asarray(maps, "float32")
    largest = maps.max(axis=(1, 2), keepdims=True)
    shares = np.divide(
        maps, largest, out=np.zeros_like(maps), where=largest > 0
    )
    resized = ops.image.resize(
        shares[..., None],
        size,
        interpolation="bilinear",
        data_format="channels_last",
    )
    return np.clip(ops.convert_to_numpy(resized)[..., 0], 0, 1)


def overlay(images, maps, strength=0.7):
    """Draws coloured heat maps over grey images.

    The image shows through where there is no heat, so that cold regions stay
    visible.

    Args:
        images: uint8 array (n, h, w, 3).
        maps: Float array (n, h', w'), >= 0, Grad-CAM maps.
        strength: Float in [0, 1], opacity of the hottest position.

    Returns:
        uint8 array (n, h, w, 3).
    """
    shares = heat(maps, images.shape[1:3])
    colours = matplotlib.colormaps["turbo"](0.15 + 0.85 * shares)[..., :3] * 255
    grey = (images.astype("float32") @ _LUMA)[..., None]
    alpha = strength * shares[..., None] ** 0.5
    return np.rint(alpha * colours + (1 - alpha) * grey).astype("uint8")
