"""Decodes encoded photos to the crop that a network sees."""

from keras_ffl.data.epoch_plan import RATIO, TRIES
from keras_ffl.optional import tensorflow as tf


def random_box(size, own):
    """The box of a random-resized crop.

    The first try that fits into the photo is used. If none fits, the box is
    the largest central one with an allowed aspect ratio.

    Args:
        size: int32 tensor (2,), height and width of the photo.
        own: Dict with `sides` and `corner`, the photo's row of a `Plan`.

    Returns:
        int32 tensor (4,): top, left, height and width of the box.
    """
    # Few operations: each one costs microseconds, and decoding a whole photo
    # takes at most a thousand of them.
    exact = tf.cast(size, tf.float32)
    tries = own["sides"] * tf.sqrt(tf.reduce_prod(exact))
    largest = tf.minimum(exact, RATIO[1] * tf.reverse(exact, [0]))
    sides = _rounded(tf.concat([tries, largest[:, tf.newaxis]], axis=1))
    fits = tf.reduce_all((sides > 0) & (sides <= size[:, tf.newaxis]), axis=0)
    # argmax finds the first that fits; the last one always does.
    chosen = tf.argmax(fits, output_type=tf.int32)
    sides = tf.gather(sides, chosen, axis=1)
    room = size - sides
    drawn = own["corner"] * tf.cast(room + 1, tf.float32)
    corner = tf.where(chosen < TRIES, tf.cast(drawn, tf.int32), room // 2)
    return tf.concat([corner, sides], axis=0)


def central_box(size, part):
    """The box of the central square.

    Args:
        size: int32 tensor (2,), height and width of the photo.
        part: Float in (0, 1], the square's side as a fraction of the photo's
            shorter side.

    Returns:
        int32 tensor (4,): top, left, height and width of the box.
    """
    shorter = tf.cast(tf.reduce_min(size), tf.float32)
    side = tf.maximum(_rounded(part * shorter), 1)
    return tf.concat([(size - side) // 2, tf.stack([side, side])], axis=0)


def _rounded(values):
    return tf.cast(tf.round(values), tf.int32)


def decode_box(encoded, choose_box, size, flip=None):
    """Decodes a box of a photo and resizes it bilinearly.

    Only the box of a JPEG is decoded, be it progressive or not, grey, colour
    or CMYK. PNG, GIF (its first frame), BMP and WebP are decoded whole. The
    content alone tells the format. An EXIF orientation is ignored.

    Args:
        encoded: Scalar string tensor.
        choose_box: Function from height and width, an int32 tensor (2,),
            to the box, an int32 tensor (4,) of top, left, height and width.
        size: Tuple (height, width) of the result.
        flip: Scalar bool tensor, whether to mirror the box left to right.
            None doesn't.

    Returns:
        uint8 tensor (*size, 3).
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
        # Before resizing, while a pixel is three bytes.
        region = tf.cond(flip, lambda: tf.reverse(region, [1]), lambda: region)
    # Without antialiasing, like TensorFlow's own ImageNet pipelines: it would
    # take longer than decoding.
    resized = tf.image.resize(region, size)
    return tf.ensure_shape(_as_pixels(resized), (*size, 3))


def _as_pixels(values):
    """Rounds numbers in 0..255 to uint8."""
    return tf.cast(tf.round(values), tf.uint8)


def decode_crop(encoded, own, info):
    """Decodes the random-resized crop of a photo for training.

    Args:
        encoded: Scalar string tensor.
        own: Dict with `sides`, `corner` and optionally `flip`, the photo's
            row of a `Plan`.
        info: `DatasetInfo`.

    Returns:
        uint8 tensor of shape `info.input_shape`.
    """
    return decode_box(
        encoded,
        lambda size: random_box(size, own),
        info.input_shape[:2],
        own.get("flip"),
    )


def decode_centre(encoded, info):
    """Decodes the central square of a photo for evaluation.

    Its side is `info.central_crop` of the photo's shorter side. This is what
    resizing the shorter side to 256 and cropping 224 pixels leaves, without
    computing the rest.

    Args:
        encoded: Scalar string tensor.
        info: `DatasetInfo`.

    Returns:
        uint8 tensor of shape `info.input_shape`.
    """

    return decode_box(
        encoded,
        lambda size: central_box(size, info.central_crop),
        info.input_shape[:2],
    )


def decode_image(encoded, info):
    """Decodes an image of any size for the networks of a data set.

    For a data set of photos (`info.central_crop`) this is `decode_centre`.
    Otherwise the whole image is resized with bilinear interpolation, with
    antialiasing if `info.antialias`, ignoring its aspect ratio, and rounded. It
    keeps its own size if the data set has none.

    Args:
        encoded: Scalar string tensor, JPEG, PNG, GIF (its first frame) or BMP.
        info: `DatasetInfo`.

    Returns:
        uint8 tensor of shape `info.input_shape`.
    """
    if info.central_crop:
        return decode_centre(encoded, info)
    height, width, channels = info.input_shape
    image = tf.io.decode_image(encoded, channels, expand_animations=False)
    if None in info.input_shape:
        return image
    image = tf.image.resize(image, (height, width), antialias=info.antialias)
    return _as_pixels(tf.clip_by_value(image, 0, 255))
