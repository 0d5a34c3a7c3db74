"""Boxes and decoding of single photos against NumPy and Pillow."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.photo_builders import box_resized, encoded, smooth

from keras_ffl.data import BatchOptions
from keras_ffl.data.epoch_plan import plan_of_epoch
from keras_ffl.data.photos.decoding import (
    central_box,
    decode_box,
    random_box,
)

# --- boxes ---------------------------------------------------------------


def reference_box(height, width, draws):
    """torchvision's `RandomResizedCrop.get_params` on given draws."""
    for tall, wide in zip(*draws["sides"].astype("float64")):
        area, ratio = tall * wide, wide / tall
        target = height * width * area
        w = round(math.sqrt(target * ratio))
        h = round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(draws["corner"][0] * np.float32(height - h + 1))
            left = int(draws["corner"][1] * np.float32(width - w + 1))
            return [top, left, h, w]
    w, h = width, height
    if width / height < 3 / 4:
        h = round(w / (3 / 4))
    elif width / height > 4 / 3:
        w = round(h * (4 / 3))
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize(
    "height, width",
    [(375, 500), (500, 333), (64, 64), (8, 100), (90, 7), (1, 1), (1, 50)],
)
def test_random_boxes(height, width):
    n = 60
    plan = plan_of_epoch(n, BatchOptions(1, seed=1), (8, 8), True, 2)
    draws = {"sides": plan.sides, "corner": plan.corner}
    boxes = tf.map_fn(
        lambda own: random_box(tf.constant([height, width]), own),
        draws,
        fn_output_signature=tf.TensorSpec((4,), tf.int32),
    ).numpy()
    expected = [
        reference_box(height, width, {k: v[i] for k, v in draws.items()})
        for i in range(n)
    ]
    np.testing.assert_array_equal(boxes, expected)
    top, left, h, w = boxes.T
    assert (boxes[:, 2:] > 0).all() and (boxes[:, :2] >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()


def test_where_no_try_fits_the_centre_is_taken():
    draws = {
        "sides": tf.fill([2, 10], 0.95),
        "corner": tf.fill([2], 0.99),
    }
    for height, width, box in (
        (30, 300, [0, 130, 30, 40]),
        (300, 30, [130, 0, 40, 30]),
    ):
        result = random_box(tf.constant([height, width]), draws)
        assert result.numpy().tolist() == box


@pytest.mark.parametrize(
    "height, width, box",
    [
        (375, 500, [23, 86, 328, 328]),
        (256, 256, [16, 16, 224, 224]),
        (100, 64, [22, 4, 56, 56]),
        (1, 9, [0, 4, 1, 1]),
    ],
)
def test_central_boxes(height, width, box):
    assert (
        central_box(tf.constant([height, width]), 7 / 8).numpy().tolist() == box
    )


# --- decoding ------------------------------------------------------------


def decoded(code, box, size=24):
    return decode_box(
        tf.constant(code), lambda _: tf.constant(box), (size, size)
    ).numpy()


ROUNDED = 0.501
BOXES = [[0, 0, 60, 80], [13, 21, 37, 30], [59, 79, 1, 1], [5, 0, 55, 11]]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_what_is_not_jpeg_is_decoded_whole(kind, box):
    image = smooth(60, 80)
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "GIF":
        image = image.quantize(64)
    result = decoded(encoded(image, kind, **options), box)
    assert result.dtype == np.uint8
    expected = box_resized(image.convert("RGB"), box, 24)
    np.testing.assert_allclose(result, expected, atol=ROUNDED)


def grey(image):
    return image.convert("L")


def cmyk(image):
    # Pillow's conversion leaves black out; this has some in it.
    channels = np.asarray(image.convert("CMYK")).astype(int)
    black = channels[..., :3].min(axis=-1, keepdims=True) // 2
    channels[..., :3] -= black
    channels[..., 3:] = black
    return Image.fromarray(channels.astype("uint8"), mode="CMYK")


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("convert", [lambda i: i, grey, cmyk])
def test_jpegs_of_all_kinds(convert, progressive):
    image = convert(smooth(60, 80))
    code = encoded(image, progressive=progressive)
    whole = tf.io.decode_jpeg(code, channels=3).numpy()
    for box in BOXES:
        result = decoded(code, box)
        # The box is what is there in the whole image.
        np.testing.assert_allclose(
            result, box_resized(whole, box, 24), atol=ROUNDED
        )
    # And that is what another decoder sees; the fast transform is a few
    # values off.
    expected = np.asarray(image.convert("RGB"), float)
    assert np.abs(whole - expected).mean() < 2
    assert np.abs(whole - expected).max() < 16


def test_enlarged_as_by_pillow():
    image = smooth(60, 80)
    top, left, height, width = box = [10, 20, 20, 20]
    expected = image.crop((left, top, left + width, top + height)).resize(
        (50, 50), Image.BILINEAR
    )
    result = decoded(encoded(image, "PNG"), box, 50)
    # Pillow rounds.
    np.testing.assert_allclose(result, np.asarray(expected), atol=1.01)


def test_exif_orientation_is_ignored():
    image = smooth(60, 80)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, plain = encoded(image, exif=exif), encoded(image)
    assert turned != plain
    np.testing.assert_array_equal(
        decoded(turned, BOXES[1]), decoded(plain, BOXES[1])
    )


def test_transparency_and_16_bits():
    image = smooth(60, 80)
    transparent = image.convert("RGBA")
    transparent.putalpha(7)
    expected = box_resized(image, BOXES[0], 24)
    result = decoded(encoded(transparent, "PNG"), BOXES[0])
    np.testing.assert_allclose(result, expected, atol=ROUNDED)
    deep = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype("uint16")
    result = decoded(encoded(Image.fromarray(deep), "PNG"), BOXES[0])
    expected = box_resized((deep >> 8)[..., None].repeat(3, -1), BOXES[0], 24)
    np.testing.assert_allclose(result, expected, atol=1)
