"""From the bytes of a photo to the part of it that is shown."""

import math

from keras_ffl.data.augmentation import stream_seed
from keras_ffl.optional import tensorflow as tf

# The random-resized crop of Szegedy et al. (2015) with torchvision's numbers.
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def draw_crops(seed, epoch, n):
    """Draws the crops of `n` photos in one epoch.

    Row `i` belongs to example `i`, whatever its place in the epoch's order.

    Args:
        seed: Integer.
        epoch: Integer or integer tensor, the epoch's number.
        n: Integer, number of examples.

    Returns:
        Dict of float32 tensors: `sides` (n, 2, 10), height and width of ten
        tries as parts of the square root of the photo's area (their product
        is in 0.08..1, width by height in 3/4..4/3, spread evenly on a
        logarithmic scale); `corner` (n, 2) in [0, 1), where among its
        possible places the crop is.
    """

    def uniform(stream, shape, low=0.0, high=1.0):
        return tf.random.stateless_uniform(
            shape, stream_seed(seed, epoch, stream), low, high, alg="philox"
        )

    area = uniform(6, [n, _TRIES], *_AREA)
    ratio = tf.exp(uniform(7, [n, _TRIES], *map(math.log, _RATIO)))
    return {
        "sides": tf.sqrt(tf.stack([area / ratio, area * ratio], axis=1)),
        "corner": uniform(8, [n, 2]),
    }


def random_box(size, draws):
    """The box of a random-resized crop.

    The first of the tries that fits into the photo counts. If none does, the
    box is the largest one in the centre whose ratio is allowed.

    Args:
        size: int32 tensor `(2,)`, height and width of the photo.
        draws: Dict as `draw_crops` returns it, of one example.

    Returns:
        int32 tensor `(4,)`: top, left, height and width of the box.
    """
    # Few operations: each one costs microseconds, and decoding a whole photo
    # takes no more than a thousand.
    exact = tf.cast(size, tf.float32)
    tries = draws["sides"] * tf.sqrt(tf.reduce_prod(exact))
    largest = tf.minimum(exact, _RATIO[1] * tf.reverse(exact, [0]))
    sides = _rounded(tf.concat([tries, largest[:, tf.newaxis]], axis=1))
    fits = tf.reduce_all((sides > 0) & (sides <= size[:, tf.newaxis]), axis=0)
    # The first, since the maximum is true: the last one always fits.
    chosen = tf.argmax(fits, output_type=tf.int32)
    sides = tf.gather(sides, chosen, axis=1)
    room = size - sides
    drawn = draws["corner"] * tf.cast(room + 1, tf.float32)
    corner = tf.where(chosen < _TRIES, tf.cast(drawn, tf.int32), room // 2)
    return tf.concat([corner, sides], axis=0)


def central_box(size, part):
    """The box of a square in the centre.

    Args:
        size: int32 tensor `(2,)`, height and width of the photo.
        part: Float in (0, 1], the square's side as a part of the shorter one
            of the photo.

    Returns:
        int32 tensor `(4,)`: top, left, height and width of the box.
    """
    shorter = tf.cast(tf.reduce_min(size), tf.float32)
    side = tf.maximum(_rounded(part * shorter), 1)
    return tf.concat([(size - side) // 2, tf.stack([side, side])], axis=0)


def _rounded(values):
    return tf.cast(tf.round(values), tf.int32)


def decode_box(encoded, choose_box, size, flip=None):
    """Decodes a box of a photo and resizes it bilinearly.

    Of a JPEG, progressive or not, grey, colour or CMYK, nothing but the box
    is decoded. PNG, GIF (its first frame), BMP and WebP are decoded whole.
    What the file is called doesn't matter. An EXIF orientation is ignored.

    Args:
        encoded: String scalar tensor.
        choose_box: Function from height and width, an int32 tensor `(2,)`,
            to the box, an int32 tensor `(4,)` of top, left, height and width.
        size: Tuple `(height, width)` of the result.
        flip: Boolean scalar tensor, whether to mirror the box left to right;
            `None` for no.

    Returns:
        float32 tensor `(*size, 3)` in 0..255.
    """

    def of_jpeg():
        box = choose_box(tf.io.extract_jpeg_shape(encoded)[:2])
        return tf.image.decode_and_crop_jpeg(encoded, box, channels=3)

    def of_another():
        image = tf.io.decode_image(encoded, 3, expand_animations=False)
        top, left, height, width = tf.unstack(choose_box(tf.shape(image)[:2]))
        return image[top : top + height, left : left + width]

    region = tf.cond(tf.io.is_jpeg(encoded), of_jpeg, of_another)
    if flip is not None:
        # Before it is resized, while a pixel is three bytes.
        region = tf.cond(flip, lambda: tf.reverse(region, [1]), lambda: region)
    # Without antialiasing, as TensorFlow's own ImageNet pipelines have it: it
    # would take longer than decoding does.
    resized = tf.image.resize(region, size)
    return tf.ensure_shape(resized, (*size, 3))


def decode_centre(encoded, info):
    """Decodes what evaluation shows of a photo.

    That is the square in the centre whose side is `info.central_crop` of the
    photo's shorter one: what is left of the photo if its shorter side is
    resized to 256 and 224 pixels are cut out, without computing the rest.

    Args:
        encoded: String scalar tensor.
        info: `DatasetInfo`.

    Returns:
        float32 tensor of shape `info.input_shape` in 0..255.
    """

    return decode_box(
        encoded,
        lambda size: central_box(size, info.central_crop),
        info.input_shape[:2],
    )


def decode_image(encoded, info):
    """Decodes an image of any size as a data set's networks take it.

    Where the data set is one of photos (`info.central_crop`), as for its
    evaluation (`decode_centre`). Else all of the image is shown, resized with
    bilinear interpolation and antialiasing, the aspect ratio not kept, and
    rounded; at its own size where the data set has none.

    Args:
        encoded: String scalar tensor, JPEG, PNG, GIF (its first frame) or BMP.
        info: `DatasetInfo`.

    Returns:
        float32 tensor of shape `info.input_shape` in 0..255.
    """
    if info.central_crop:
        return decode_centre(encoded, info)
    height, width, channels = info.input_shape
    image = tf.io.decode_image(encoded, channels, expand_animations=False)
    if None in info.input_shape:
        return tf.cast(image, tf.float32)
    image = tf.image.resize(image, (height, width), antialias=True)
    return tf.round(tf.clip_by_value(image, 0, 255))
