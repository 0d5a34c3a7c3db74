"""RandAugment with operations drawn for each image.

Keras' layer applies the same operations to a whole batch, and keras-cv's takes
no seed. These are Pillow's operations with torchvision's ranges, and the drawn
values alone determine the result. All computations use integers, with
fractions in 65536ths, so that results are the same everywhere.

Reference:
    Cubuk et al., 2020, "RandAugment: Practical automated data augmentation
    with a reduced search space", https://arxiv.org/abs/1909.13719.
"""

import numpy as np
from keras import ops

PER_IMAGE = 2
_ONE = 65536


def draw(stream, n, magnitude, size):
    """Draws the operations of `n` images.

    Args:
        stream: `numpy.random.Generator`.
        n: Int.
        magnitude: Float in 0..10.
        size: Pair of int, height and width of the images.

    Returns:
        Dict of the columns `operation`, `strength` and `affine` of a `Plan`.
    """
    shape = n, PER_IMAGE
    drawn = stream.integers(0, 2 * len(OPERATIONS), shape)
    # The parameters of each operation with each sign.
    values = [
        (_FUNCTIONS.index(function), *parameters(name, sign * part, size))
        for name, function in OPERATIONS.items()
        for sign in (-1, 1)
        for part in (magnitude / 10,)
    ]
    operation, strength, affine = map(np.array, zip(*values))
    return {
        "operation": operation.astype("int32")[drawn],
        "strength": strength.astype("int32")[drawn],
        "affine": affine.astype("int32")[drawn],
    }


def parameters(name, part, size):
    """The parameters of an operation.

    Args:
        name: Str, a key of `OPERATIONS`.
        part: Float in -1..1, the signed fraction of its range.
        size: Pair of int, height and width of the images.

    Returns:
        Tuple of the strength, an int (number of bits to keep, the smallest
        value to invert, or a factor in 65536ths), and an array of six
        integers a, ..., f: pixel (x, y) of the result is the image's pixel at
        (ax + by + c, dx + ey + f), in 65536ths.
    """
    height, width = size
    affine = np.array([1.0, 0, 0, 0, 1, 0])
    if name == "rotate":
        cos, sin = np.cos(np.deg2rad(30 * part)), np.sin(np.deg2rad(30 * part))
        x, y = width / 2, height / 2
        affine[:3] = cos, sin, x - cos * x - sin * y
        affine[3:] = -sin, cos, y + sin * x - cos * y
    elif name in ("shear_x", "shear_y"):
        affine[1 if name == "shear_x" else 3] = 0.3 * part
    elif name == "translate_x":
        affine[2] = int(150 / 331 * part * width)
    elif name == "translate_y":
        affine[5] = int(150 / 331 * part * height)
    strength = {
        "posterize": 8 - round(4 * abs(part)),
        "solarize": int(np.ceil(255 * (1 - abs(part)))),
    }.get(name, round(_ONE * (1 + 0.9 * part)))
    # Measured from the centre of a pixel.
    affine[[2, 5]] += (affine[[0, 3]] + affine[[1, 4]]) / 2
    return strength, np.floor(affine * _ONE + 0.5).astype("int32")


def transformed(image, rows):
    """Applies its operations to an image.

    Args:
        image: int32 tensor (height, width, 3) in 0..255.
        rows: Dict with this image's `operation`, `strength` and `affine` of
            a `Plan`.

    Returns:
        int32 tensor of the shape of `image`.
    """
    for k in range(PER_IMAGE):
        image = ops.switch(
            rows["operation"][k],
            _FUNCTIONS,
            image,
            rows["strength"][k],
            rows["affine"][k],
        )
    return image


# ----- operations: from image, strength and affine map to an image -----------


def _same(image, strength, affine):
    return ops.copy(image)


def _moved(image, strength, affine):
    height, width, channels = image.shape
    y = ops.arange(height, dtype="int32")[:, None]
    x = ops.arange(width, dtype="int32")
    a, b, c, d, e, f = (affine[k] for k in range(6))
    column = (a * x + b * y + c) // _ONE
    row = (d * x + e * y + f) // _ONE
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = ops.where(inside, row * width + column, 0)
    pixels = ops.take(ops.reshape(image, (-1, channels)), place, axis=0)
    return ops.where(inside[..., None], pixels, 0)


def _auto_contrasted(image, strength, affine):
    least = ops.min(image, axis=(0, 1))
    span = ops.max(image, axis=(0, 1)) - least
    stretched = (image - least) * 255 // ops.maximum(span, 1)
    return ops.where(span > 0, stretched, image)


def _equalized(image, strength, affine):
    height, width, channels = image.shape
    value = image + 256 * ops.arange(channels, dtype="int32")
    counts = ops.segment_sum(
        ops.ones((height * width * channels,), "int32"),
        ops.reshape(value, (-1,)),
        256 * channels,
    )
    counts = ops.reshape(counts, (channels, 256))
    below = ops.cumsum(counts, axis=1) - counts
    brightest = ops.max(image, axis=(0, 1))
    last = ops.take_along_axis(counts, brightest[:, None], axis=1)
    step = (height * width - last) // 255
    table = ops.minimum((below + step // 2) // ops.maximum(step, 1), 255)
    found = ops.take(ops.reshape(table, (-1,)), value, axis=0)
    return ops.where(step[:, 0] > 0, found, image)


def _solarized(image, strength, affine):
    return ops.where(image < strength, image, 255 - image)


def _posterized(image, strength, affine):
    step = ops.left_shift(1, 8 - strength)
    return image - image % step


def _grey(image):
    red, green, blue = (image[..., k] for k in range(3))
    weighed = 19595 * red + 38470 * green + 7471 * blue + 0x8000
    return ops.right_shift(weighed, 16)[..., None]


def _blended(other, image, strength):
    """Extrapolates from `other` past `image`, clipped like Pillow's."""
    return ops.clip(other + strength * (image - other) // _ONE, 0, 255)


def _coloured(image, strength, affine):
    return _blended(_grey(image), image, strength)


def _contrasted(image, strength, affine):
    grey = _grey(image)
    pixels = image.shape[0] * image.shape[1]
    mean = (2 * ops.sum(grey) + pixels) // (2 * pixels)
    return _blended(mean, image, strength)


def _brightened(image, strength, affine):
    return _blended(ops.zeros_like(image), image, strength)


def _sharpened(image, strength, affine):
    height, width, _ = image.shape
    around = sum(
        image[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    )
    # The mean with weight 5 in the centre; edges stay unchanged.
    smooth = (2 * (around + 4 * image[1:-1, 1:-1]) + 13) // 26
    inner = _blended(smooth, image[1:-1, 1:-1], strength)
    middle = ops.concatenate([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
    return ops.concatenate([image[:1], middle, image[-1:]], axis=0)


OPERATIONS = {
    "identity": _same,
    "rotate": _moved,
    "shear_x": _moved,
    "shear_y": _moved,
    "translate_x": _moved,
    "translate_y": _moved,
    "auto_contrast": _auto_contrasted,
    "equalize": _equalized,
    "solarize": _solarized,
    "posterize": _posterized,
    "color": _coloured,
    "contrast": _contrasted,
    "brightness": _brightened,
    "sharpness": _sharpened,
}
_FUNCTIONS = tuple(dict.fromkeys(OPERATIONS.values()))
