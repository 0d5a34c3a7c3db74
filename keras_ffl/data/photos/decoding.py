"""From the bytes of a photo to the part of it that is shown."""

from keras_ffl.data.epoch_plan import RATIO, TRIES
from keras_ffl.optional import tensorflow as tf


def random_box(size, own):
    """The box of a random-resized crop.

    The first of the tries that fits into the photo counts. If none does, the
    box is the largest one in the centre whose ratio is allowed.

    Args:
        size: int32 tensor `(2,)`, height and width of the photo.
        own: Dict with `sides` and `corner`, a photo's row of a `Plan`.

    Returns:
        int32 tensor `(4,)`: top, left, height and width of the box.
    """
    # Few operations: each one costs microseconds, and decoding a whole photo
    # takes no more than a thousand.
    exact = tf.cast(size, tf.float32)
    tries = own["sides"] * tf.sqrt(tf.reduce_prod(exact))
    largest = tf.minimum(exact, RATIO[1] * tf.reverse(exact, [0]))
    sides = _rounded(tf.concat([tries, largest[:, tf.newaxis]], axis=1))
    fits = tf.reduce_all((sides > 0) & (sides <= size[:, tf.newaxis]), axis=0)
    # The first, since the maximum is true: the last one always fits.
    chosen = tf.argmax(fits, output_type=tf.int32)
    sides = tf.gather(sides, chosen, axis=1)
    room = size - sides
    drawn = own["corner"] * tf.cast(room + 1, tf.float32)
    corner = tf.where(chosen < TRIES, tf.cast(drawn, tf.int32), room // 2)
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
        uint8 tensor `(*size, 3)`.
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
    return tf.ensure_shape(_as_pixels(resized), (*size, 3))


def _as_pixels(values):
    """Rounds numbers in 0..255 to uint8."""
    return tf.cast(tf.round(values), tf.uint8)


def decode_crop(encoded, own, info):
    """Decodes what training shows of a photo: a random-resized crop.

    Args:
        encoded: String scalar tensor.
        own: Dict with `sides`, `corner` and maybe `flip`, the photo's row of
            a `Plan`.
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
    """Decodes what evaluation shows of a photo.

    That is the square in the centre whose side is `info.central_crop` of the
    photo's shorter one: what is left of the photo if its shorter side is
    resized to 256 and 224 pixels are cut out, without computing the rest.

    Args:
        encoded: String scalar tensor.
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
    """Decodes an image of any size as a data set's networks take it.

    Where the data set is one of photos (`info.central_crop`), as for its
    evaluation (`decode_centre`). Else all of the image is shown, resized with
    bilinear interpolation and antialiasing, the aspect ratio not kept, and
    rounded; at its own size where the data set has none.

    Args:
        encoded: String scalar tensor, JPEG, PNG, GIF (its first frame) or BMP.
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
    image = tf.image.resize(image, (height, width), antialias=True)
    return _as_pixels(tf.clip_by_value(image, 0, 255))
