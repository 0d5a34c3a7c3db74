import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.data import Augmentation, DatasetInfo, draw_epoch
from keras_ffl.data.augmentation import crop_and_flip, cut_out
from keras_ffl.data.batch_augmentation import make_augment
from keras_ffl.errors import InputError


def make_info(shape=(12, 10, 3), classes=4):
    channels = shape[-1]
    return DatasetInfo(
        "random",
        classes,
        shape,
        [str(i) for i in range(classes)],
        [100.0 + i for i in range(channels)],
        [50.0 + i for i in range(channels)],
        flip=True,
    )


def random_images(n, shape=(12, 10, 3)):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (n, *shape), dtype="uint8")


def as_numpy(draws):
    return {name: values.numpy() for name, values in draws.items()}


# --- Augmentation --------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pad": -1}, "pad: .*got -1"),
        ({"pad": 1.5}, "pad: .*got 1.5"),
        ({"cutout": -2}, "cutout: .*got -2"),
        ({"padding": "wrap"}, "padding: .*'reflect' or 'constant'.*'wrap'"),
        ({"randaugment": 11}, "randaugment: .*got 11"),
        ({"mixup": -0.1}, "mixup: .*got -0.1"),
        ({"cutmix": float("nan")}, "cutmix: .*got nan"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**options)


def test_reflection_needs_an_image_larger_than_the_padding():
    Augmentation(pad=9).check_input_shape((12, 10, 3))
    Augmentation(pad=30, padding="constant").check_input_shape((12, 10, 3))
    with pytest.raises(InputError, match="pad: .*12x10.*got 10"):
        make_augment(Augmentation(pad=10), make_info())


# --- draw_epoch ----------------------------------------------------------


def test_draws_take_every_value_equally_often():
    draws = as_numpy(draw_epoch(0, 0, 45000, Augmentation(cutout=4)))
    for name in ("dy", "dx"):
        counts = np.bincount(draws[name])
        assert len(counts) == 9
        # Five standard deviations of a binomial of mean 5000.
        assert (np.abs(counts - 5000) < 5 * np.sqrt(5000 * 8 / 9)).all()
    assert abs(draws["flip"].mean() - 0.5) < 5 * 0.5 / np.sqrt(45000)
    for name in ("cutout_y", "cutout_x"):
        counts = np.bincount((draws[name] * 10).astype(int))
        assert len(counts) == 10
        assert (np.abs(counts - 4500) < 5 * np.sqrt(4500 * 0.9)).all()


def test_draws_are_independent_of_each_other():
    draws = as_numpy(draw_epoch(0, 0, 20000, Augmentation(cutout=4)))
    correlations = np.corrcoef([draws[name] for name in draws])
    np.fill_diagonal(correlations, 0)
    assert np.abs(correlations).max() < 5 / np.sqrt(20000)


def test_draws_depend_on_seed_epoch_and_example():
    def drawn(seed, epoch, n=1000):
        return as_numpy(draw_epoch(seed, epoch, n, Augmentation(cutout=4)))

    base = drawn(1, 2)
    assert all((base[name] == drawn(1, 2)[name]).all() for name in base)
    # Seed and epoch are no sum: (1, 2) is not (2, 1) or (0, 3).
    for seed, epoch in ((1, 3), (2, 2), (2, 1), (0, 3)):
        other = drawn(seed, epoch)
        for name in base:
            assert (base[name] != other[name]).mean() > 0.4
    # Example i has the same draws in a smaller data set.
    fewer = drawn(1, 2, n=300)
    assert all((base[name][:300] == fewer[name]).all() for name in base)


def test_draws_of_what_is_switched_off():
    draws = as_numpy(draw_epoch(0, 0, 50, Augmentation(pad=0, flip=False)))
    assert set(draws) == {"dy", "dx", "flip"}
    assert not any(values.any() for values in draws.values())


# --- crop and flip -------------------------------------------------------


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 4, 9])
def test_crop_and_flip_against_numpy(pad, flip, padding):
    augmentation = Augmentation(pad=pad, padding=padding, flip=flip)
    images = random_images(200)
    draws = draw_epoch(5, 6, 200, augmentation)
    ours = crop_and_flip(tf.constant(images), draws, augmentation)
    assert ours.dtype == tf.uint8
    draws = as_numpy(draws)
    for i, image in enumerate(images):
        padded = np.pad(image, [(pad, pad), (pad, pad), (0, 0)], padding)
        if draws["flip"][i]:
            padded = padded[:, ::-1]
        top, left = draws["dy"][i], draws["dx"][i]
        expected = padded[top : top + 12, left : left + 10]
        np.testing.assert_array_equal(ours[i], expected)
    assert draws["flip"].any() == flip


def test_padding_wider_than_the_image():
    augmentation = Augmentation(pad=30, padding="constant")
    images = np.full((40, 12, 10, 3), 255, "uint8")
    draws = draw_epoch(5, 6, 40, augmentation)
    ours = crop_and_flip(tf.constant(images), draws, augmentation).numpy()
    drawn = as_numpy(draws)
    rows = np.maximum(12 - np.abs(drawn["dy"] - 30), 0)
    columns = np.maximum(10 - np.abs(drawn["dx"] - 30), 0)
    np.testing.assert_array_equal(
        (ours == 255).sum(axis=(1, 2, 3)), 3 * rows * columns
    )


def test_images_of_a_batch_are_augmented_differently():
    augmentation = Augmentation()
    images = np.repeat(random_images(1), 64, axis=0)
    ours = crop_and_flip(
        tf.constant(images), draw_epoch(0, 0, 64, augmentation), augmentation
    )
    assert len({image.tobytes() for image in ours.numpy()}) > 40


# --- cutout --------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 5, 6, 40])
def test_cutout_against_numpy(side):
    images = random_images(100).astype("float32")
    fill = (300.0, 301.0, 302.0)
    draws = draw_epoch(1, 1, 100, Augmentation(cutout=side))
    ours = cut_out(tf.constant(images), draws, side, fill).numpy()
    draws = as_numpy(draws)
    areas = []
    for i, image in enumerate(images):
        expected = image.copy()
        top = int(draws["cutout_y"][i] * 12) - side // 2
        left = int(draws["cutout_x"][i] * 10) - side // 2
        expected[
            max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)
        ] = fill
        np.testing.assert_array_equal(ours[i], expected)
        areas.append((ours[i, ..., 0] == 300).sum())
    assert max(areas) == min(side, 12) * min(side, 10)
    if side in (5, 6):
        assert min(areas) < side * side


def test_cutout_fills_with_the_mean():
    info = make_info()
    augmentation = Augmentation(pad=0, flip=False, cutout=3)
    images = np.zeros((20, 12, 10, 3), "uint8")
    draws = draw_epoch(0, 0, 20, augmentation)
    ours, _ = make_augment(augmentation, info)(
        tf.constant(images), tf.zeros([20], tf.int32), draws
    )
    for channel in range(3):
        values = np.unique(ours.numpy()[..., channel])
        assert values.tolist() == [0.0, info.mean[channel]]


# --- keras-cv ------------------------------------------------------------


def augmented(augmentation, labels=None, shape=(16, 16, 3), n=50):
    """Two batches of 32 and 18 through tf.data, as NumPy."""
    with pytest.warns(UserWarning):
        augment = make_augment(augmentation, make_info(shape))
    if labels is None:
        labels = np.arange(n, dtype="int32") % 4
    examples = (
        random_images(n, shape),
        labels,
        draw_epoch(0, 0, n, augmentation),
    )
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(32)
    images, labels = zip(*batches.map(augment).as_numpy_iterator())
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize(
    "options, shape",
    [
        ({"randaugment": 10}, (16, 16, 3)),
        ({"mixup": 1.0}, (16, 16, 3)),
        ({"cutmix": 1.0}, (16, 16, 1)),
        ({"mixup": 0.2, "cutmix": 1.0}, (16, 16, 1)),
    ],
)
def test_keras_cv_keeps_shape_range_and_labels(options, shape):
    augmentation = Augmentation(pad=0, flip=False, **options)
    images, labels = augmented(augmentation, shape=shape)
    assert images.shape == (50, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert 200 < images.max() <= 255
    changed = (images != random_images(50, shape)).any(axis=(1, 2, 3))
    assert changed.mean() > 0.5
    if augmentation.softens_labels:
        assert labels.shape == (50, 4)
        assert labels.dtype == np.float32
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
        assert ((labels > 0).sum(axis=1) > 1).any()
    else:
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, np.arange(50) % 4)


def test_mixup_takes_soft_labels():
    rows = np.full((50, 4), 0.25, "float32")
    _, labels = augmented(Augmentation(mixup=1.0), rows)
    np.testing.assert_allclose(labels, rows, atol=1e-6)


def test_mixup_weighs_images_and_labels_alike():
    # Image i is its label's brightness, so the mixed labels give the images.
    augmentation = Augmentation(pad=0, flip=False, mixup=1.0)
    with pytest.warns(UserWarning):
        augment = make_augment(augmentation, make_info())
    labels = np.arange(64) % 4
    images = np.zeros((64, 12, 10, 3), "uint8")
    images += (60 * labels).astype("uint8")[:, None, None, None]
    draws = draw_epoch(0, 0, 64, augmentation)
    images, rows = augment(tf.constant(images), tf.constant(labels), draws)
    expected = 60 * (rows.numpy() @ np.arange(4))
    np.testing.assert_allclose(images[:, 3, 4, 1], expected, atol=1e-3)


def test_warning_names_what_ignores_the_seed():
    with pytest.warns(UserWarning, match="^randaugment, mixup: ") as record:
        make_augment(Augmentation(randaugment=5, mixup=0.2), make_info())
    assert len(record) == 1


def test_no_warning_where_the_seed_decides():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_augment(Augmentation(cutout=4), make_info())


def test_randaugment_needs_colour():
    with pytest.raises(InputError, match="randaugment: .*3 channels, got 1"):
        make_augment(Augmentation(randaugment=5), make_info((16, 16, 1)))
