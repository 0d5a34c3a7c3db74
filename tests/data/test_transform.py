"""Crop, flip, cutout, mixing and labels against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_ffl.data import (
    Augmentation,
    DatasetInfo,
    normalize,
    training_batches,
)
from keras_ffl.data.epoch_plan import PER_VIEW
from keras_ffl.data.transform import constants_of, normalized, transform

CLASSES = 4


def make_info(shape=(12, 10, 3), classes=CLASSES):
    channels = shape[-1]
    return DatasetInfo(
        "random",
        classes,
        shape,
        [str(i) for i in range(classes)],
        [100.3 + i for i in range(channels)],
        [50.7 + i for i in range(channels)],
        flip=True,
    )


def random_images(n, shape=(12, 10, 3)):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (n, *shape), dtype="uint8")


def drawn(n, augmentation, shape=(12, 10, 3), seed=5, **options):
    """Images and the rows of a plan for them, in one batch."""
    x, y = random_images(n, shape), np.arange(n) % CLASSES
    batches = training_batches(
        x, y, make_info(shape), n, seed, augmentation, **options
    )
    return x, batches.plan(0).columns()


def transformed(x, rows, augmentation, labels=None):
    labels = np.zeros(len(x), "int32") if labels is None else labels
    constants = constants_of(make_info(x.shape[1:]), augmentation)
    results = transform(
        ops.convert_to_tensor(x), ops.convert_to_tensor(labels), rows, constants
    )
    return tuple(map(ops.convert_to_numpy, results))


# --- crop and flip -------------------------------------------------------


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 4, 9])
def test_crop_and_flip(pad, flip, padding):
    augmentation = Augmentation(pad=pad, padding=padding, flip=flip)
    images, rows = drawn(200, augmentation)
    ours, _ = transformed(images, rows, augmentation)
    assert ours.dtype == np.uint8
    for i, image in enumerate(images):
        padded = np.pad(image, [(pad, pad), (pad, pad), (0, 0)], padding)
        if flip and rows["flip"][i]:
            padded = padded[:, ::-1]
        top, left = rows["crop"][i] + pad if pad or flip else (0, 0)
        np.testing.assert_array_equal(
            ours[i], padded[top : top + 12, left : left + 10]
        )
    assert ("flip" in rows) == flip and (not flip or rows["flip"].any())


def test_padding_wider_than_the_image():
    augmentation = Augmentation(pad=30, padding="constant")
    _, rows = drawn(40, augmentation)
    images = np.full((40, 12, 10, 3), 255, "uint8")
    ours, _ = transformed(images, rows, augmentation)
    heights = np.maximum(12 - np.abs(rows["crop"][:, 0]), 0)
    widths = np.maximum(10 - np.abs(rows["crop"][:, 1]), 0)
    np.testing.assert_array_equal(
        (ours == 255).sum(axis=(1, 2, 3)), 3 * heights * widths
    )


def test_images_of_a_batch_are_augmented_differently():
    _, rows = drawn(64, Augmentation())
    images = np.repeat(random_images(1), 64, axis=0)
    ours, _ = transformed(images, rows, Augmentation())
    assert len({image.tobytes() for image in ours}) > 40


# --- cutout --------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 5, 6, 40])
def test_cutout(side):
    augmentation = Augmentation(pad=0, flip=False, cutout=side)
    images, rows = drawn(100, augmentation)
    ours, _ = transformed(images, rows, augmentation)
    assert ours.dtype == np.float32
    mean = np.float32(make_info().mean)
    areas = []
    for i, image in enumerate(images):
        expected = image.astype("float32")
        top, left, bottom, right = rows["cutout"][i]
        assert (bottom - top, right - left) == (side, side)
        expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = (
            mean
        )
        np.testing.assert_array_equal(ours[i], expected)
        areas.append((ours[i] == mean).all(axis=-1).sum())
    assert max(areas) == min(side, 12) * min(side, 10)
    if side in (5, 6):
        assert min(areas) < side * side
    # The mean is 0 for the network.
    assert (normalize(ours, make_info()) == 0).any(axis=(1, 2, 3)).all()


# --- mixing --------------------------------------------------------------


def mixed_by_hand(images, labels, rows):
    images = images.astype("float64")
    partner = np.arange(len(images)) + rows["partner"]
    if "cutmix" in rows:
        cut, soft = images.copy(), labels.copy()
        for i, (top, left, bottom, right) in enumerate(rows["cutmix"]):
            box = slice(top, bottom), slice(left, right)
            cut[i][box] = images[partner[i]][box]
            part = (bottom - top) * (right - left) / (12 * 10)
            soft[i] = (1 - part) * labels[i] + part * labels[partner[i]]
        images, labels = cut, soft
    if "mixup" in rows:
        own = rows["mixup"].astype("float64")
        labels = labels * own[:, None] + labels[partner] * (1 - own[:, None])
        own = own[:, None, None, None]
        images = images * own + images[partner] * (1 - own)
    return images, labels


@pytest.mark.parametrize(
    "options",
    [
        {"mixup": 1.0},
        {"cutmix": 1.0},
        {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1},
    ],
)
@pytest.mark.parametrize("n", [50, 51])
def test_mixing(options, n):
    augmentation = Augmentation(pad=0, flip=False, **options)
    images, rows = drawn(n, augmentation)
    labels = np.eye(CLASSES, dtype="float32")[np.arange(n) % CLASSES]
    ours, soft = transformed(images, rows, augmentation, labels)
    assert (ours.dtype, soft.dtype) == (np.float32, np.float32)
    smoothing = augmentation.label_smoothing
    smooth = (1 - smoothing) * labels.astype("float64") + smoothing / CLASSES
    expected, expected_labels = mixed_by_hand(images, smooth, rows)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(soft, expected_labels, atol=1e-6)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert (np.abs(ours - images).max(axis=(1, 2, 3)) > 0).mean() > 0.5


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.4, "cutmix": 0.8}])
def test_each_view_is_an_augmentation_of_its_own(mixed):
    augmentation = Augmentation(pad=3, cutout=4, randaugment=6, **mixed)
    x, rows = drawn(5, augmentation, views=3)
    labels = np.eye(CLASSES, dtype="float32")[np.arange(5) % CLASSES]
    pixels, found = transformed(x, rows, augmentation, labels)
    assert pixels.shape == (5, 3, 12, 10, 3)
    for view in range(3):
        own = {k: v[:, view] if k in PER_VIEW else v for k, v in rows.items()}
        expected, same = transformed(x, own, augmentation, labels)
        np.testing.assert_array_equal(pixels[:, view], expected)
        np.testing.assert_array_equal(found, same)
        assert (pixels[:, view] != pixels[:, view - 1]).any()


def test_smoothed_labels():
    augmentation = Augmentation(label_smoothing=0.1)
    images, rows = drawn(9, augmentation)
    labels = np.eye(CLASSES, dtype="float32")[np.arange(9) % CLASSES]
    ours, soft = transformed(images, rows, augmentation, labels)
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(soft, 0.9 * labels + 0.1 / CLASSES, rtol=1e-6)


# --- normalisation -------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, tf.constant])
def test_normalize(make):
    x, info = random_images(20), make_info()
    ours = normalize(make(x), info)
    assert isinstance(ours, np.ndarray if make is np.asarray else tf.Tensor)
    assert np.dtype(ours.dtype.name) == np.float32
    expected = (x.astype("float64") - info.mean) / info.std
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


def test_normalize_in_a_graph_of_any_batch_size():
    x, info = random_images(20), make_info()
    mean, scale, *_ = constants_of(info, Augmentation())
    graph = tf.function(
        lambda images: normalized(images, mean, scale),
        input_signature=[tf.TensorSpec((None, 12, 10, 3), tf.uint8)],
    )
    ours = graph(x)
    assert ours.shape == x.shape
    np.testing.assert_array_equal(ours, normalize(x, info))
