import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.data import (
    Augmentation,
    DatasetInfo,
    crop_and_flip,
    draw_epoch,
    evaluation_batches,
    normalize,
    steps_per_epoch,
    training_batches,
)
from keras_ffl.errors import InputError

N = 50


def make_info(classes=N):
    return DatasetInfo(
        "random",
        classes,
        (9, 8, 3),
        [str(i) for i in range(classes)],
        (120.0, 110.0, 100.5),
        (60.0, 55.5, 50.0),
        flip=True,
    )


def examples():
    """Random images; the label is the example's number."""
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (N, 9, 8, 3), dtype="uint8"), np.arange(N)


def batches(seed=0, augmentation=Augmentation(cutout=3), **options):
    options = {"batch_size": 16} | options
    dataset = training_batches(
        *examples(),
        make_info(),
        seed=seed,
        augmentation=augmentation,
        **options,
    )
    return list(dataset.as_numpy_iterator())


def assert_same(first, second):
    assert len(first) == len(second)
    for (x1, y1), (x2, y2) in zip(first, second):
        np.testing.assert_array_equal(y1, y2)
        np.testing.assert_array_equal(x1, x2)


def labels_of(some_batches):
    return np.concatenate([y for _, y in some_batches])


# --- order ---------------------------------------------------------------


def test_an_epoch_holds_every_example_once():
    run = batches(epochs=3)
    assert len(run) == 3 * steps_per_epoch(N, 16) == 12
    for epoch in range(3):
        part = run[4 * epoch : 4 * epoch + 4]
        assert [len(y) for _, y in part] == [16, 16, 16, 2]
        assert sorted(labels_of(part)) == list(range(N))


def test_without_the_partial_batch():
    run = batches(epochs=2, drop_remainder=True)
    assert len(run) == 2 * steps_per_epoch(N, 16, drop_remainder=True) == 6
    for epoch in range(2):
        labels = labels_of(run[3 * epoch : 3 * epoch + 3])
        assert len(set(labels)) == 48


def test_an_epoch_does_not_depend_on_where_the_run_starts():
    run = batches(epochs=4)
    for start in (1, 3):
        resumed = batches(initial_epoch=start, epochs=4)
        assert_same(run[4 * start :], resumed)


def test_no_epochs_left():
    assert batches(initial_epoch=4, epochs=4) == []


def test_epochs_and_seeds_differ_in_order():
    orders = [labels_of(batches(seed, epochs=1)) for seed in (0, 1)]
    run = batches(epochs=2)
    orders += [labels_of(run[4:]), np.arange(N)]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert (first == second).sum() < 10


def test_every_place_is_equally_likely():
    dataset = training_batches(
        *examples(), make_info(), N, 7, None, epochs=400
    ).map(lambda x, y: y)
    orders = np.array(list(dataset.as_numpy_iterator()))
    # The mean place of each example; five standard deviations.
    places = np.argsort(orders, axis=1).mean(axis=0)
    limit = 5 * np.sqrt((N**2 - 1) / 12 / 400)
    assert np.abs(places - (N - 1) / 2).max() < limit


def test_order_and_draws_do_not_depend_on_the_batch_size():
    def by_example(batch_size):
        run = batches(epochs=1, batch_size=batch_size)
        return np.concatenate([x for x, _ in run]), labels_of(run)

    for first, second in zip(by_example(16), by_example(7)):
        np.testing.assert_array_equal(first, second)


# --- images --------------------------------------------------------------


def test_images_are_augmented_by_their_own_draws():
    info = make_info()
    augmentation = Augmentation(pad=3)
    x, _ = examples()
    run = batches(4, augmentation, initial_epoch=5, epochs=6)
    draws = draw_epoch(4, 5, N, augmentation)
    expected = normalize(
        crop_and_flip(tf.constant(x), draws, augmentation).numpy(), info
    )
    for images, labels in run:
        assert images.dtype == np.float32
        assert labels.dtype == np.int32
        np.testing.assert_allclose(
            images, expected[labels], rtol=1e-6, atol=1e-6
        )


def test_without_augmentation():
    x, _ = examples()
    for images, labels in batches(augmentation=None):
        np.testing.assert_allclose(
            images, normalize(x, make_info())[labels], rtol=1e-6, atol=1e-6
        )


def test_cutout_is_zero_after_normalisation():
    run = batches(augmentation=Augmentation(pad=0, flip=False, cutout=3))
    images = np.concatenate([x for x, _ in run])
    zeros = (images == 0).all(axis=-1).sum(axis=(1, 2))
    # A corner at the least: the centre is within the image.
    assert zeros.min() >= 4
    assert zeros.max() == 9


def test_one_hot_labels_stay_rows():
    x, y = examples()
    dataset = training_batches(
        x, np.eye(N)[y], make_info(), 16, 0, Augmentation()
    )
    for (_, rows), (_, labels) in zip(
        dataset.as_numpy_iterator(), batches(), strict=True
    ):
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows.argmax(axis=1), labels)


def test_mixed_labels_are_rows():
    with pytest.warns(UserWarning, match="mixup"):
        run = batches(augmentation=Augmentation(mixup=0.5))
    assert run[0][1].shape == (16, N)
    assert run[0][1].dtype == np.float32
    assert run[-1][0].shape == (2, 9, 8, 3)


@pytest.mark.parametrize("one_hot", [False, True])
def test_smoothed_labels(one_hot):
    x, y = examples()
    run = training_batches(
        x,
        np.eye(N)[y] if one_hot else y,
        make_info(),
        16,
        0,
        Augmentation(label_smoothing=0.1),
    )
    for (images, rows), (others, labels) in zip(
        run.as_numpy_iterator(),
        batches(augmentation=Augmentation()),
        strict=True,
    ):
        np.testing.assert_array_equal(images, others)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(
            rows, 0.9 * np.eye(N)[labels] + 0.1 / N, rtol=1e-6
        )


@pytest.mark.parametrize("part", [-0.1, 1, float("nan")])
def test_bad_label_smoothing(part):
    with pytest.raises(InputError, match=f"label_smoothing: .*got {part}"):
        Augmentation(label_smoothing=part)


def halves(indices):
    """Every batch in two parts, of which the first may be empty."""
    return indices.flat_map(
        lambda i: tf.data.Dataset.range(2).map(
            lambda k: tf.cond(
                k == 0, lambda: i[: tf.size(i) // 2], lambda: i[9:]
            )
        )
    )


def test_a_part_of_every_batch():
    whole = batches(epochs=2)
    part = batches(epochs=2, part=halves)
    assert [len(y) for _, y in part] == [8, 7, 8, 7, 8, 7, 1, 0] * 2
    assert_same(
        part[::2], [(x[: len(x) // 2], y[: len(y) // 2]) for x, y in whole]
    )
    x, y = examples()
    run = evaluation_batches(x, y, make_info(), 16, part=halves)
    labels = [labels.tolist() for _, labels in run.as_numpy_iterator()]
    assert labels[:2] == [list(range(8)), list(range(9, 16))]
    assert labels[-2:] == [[48], []]


def test_shapes_are_known():
    images, labels = training_batches(
        *examples(), make_info(), 16, 0, Augmentation(cutout=2)
    ).element_spec
    assert images == tf.TensorSpec((None, 9, 8, 3), tf.float32)
    assert labels == tf.TensorSpec((None,), tf.int32)


# --- fit -----------------------------------------------------------------


class Recorder(keras.Model):
    """A model that learns nothing and writes down the labels it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        return x

    def train_step(self, data):
        self.seen.append(data[1].numpy().tolist())
        return {"loss": tf.constant(0.0)}

    def test_step(self, data):
        return {"loss": tf.constant(0.0)}


def seen_by_fit(initial_epoch):
    x, y = examples()
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(
        training_batches(
            x,
            y,
            make_info(),
            16,
            0,
            Augmentation(),
            initial_epoch=initial_epoch,
            epochs=3,
        ),
        steps_per_epoch=steps_per_epoch(N, 16),
        initial_epoch=initial_epoch,
        epochs=3,
        validation_data=evaluation_batches(x, y, make_info()),
        shuffle=False,
        verbose=0,
    )
    return model.seen


def test_fit_takes_all_epochs_from_one_iterator():
    expected = [y.tolist() for _, y in batches(epochs=3)]
    assert seen_by_fit(0) == expected
    assert seen_by_fit(2) == expected[8:]


# --- evaluation ----------------------------------------------------------


def test_evaluation_batches_keep_the_order():
    x, y = examples()
    run = list(evaluation_batches(x, y, make_info(), 20).as_numpy_iterator())
    assert [len(labels) for _, labels in run] == [20, 20, 10]
    np.testing.assert_array_equal(labels_of(run), y)
    assert run[0][1].dtype == np.int32
    np.testing.assert_allclose(
        np.concatenate([images for images, _ in run]),
        normalize(x, make_info()),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("already", [False, True])
def test_evaluation_batches_with_one_hot_labels(already):
    x, y = examples()
    given = np.eye(N)[y] if already else y
    run = evaluation_batches(x, given, make_info(), one_hot=True)
    (_, rows), *rest = run.as_numpy_iterator()
    assert not rest
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.eye(N)[y])


# --- normalisation -------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, tf.constant])
def test_normalize(make):
    x, _ = examples()
    ours = normalize(make(x), make_info())
    assert isinstance(ours, np.ndarray if make is np.asarray else tf.Tensor)
    assert np.dtype(ours.dtype.name) == np.float32
    expected = (x.astype("float64") - [120, 110, 100.5]) / [60, 55.5, 50]
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


def test_normalize_a_single_image_in_a_graph():
    x, _ = examples()
    ours = tf.function(lambda image: normalize(image, make_info()))(x[0])
    np.testing.assert_allclose(
        ours, normalize(x, make_info())[0], rtol=1e-6, atol=1e-6
    )


# --- bad input -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": np.zeros((N, 9, 8, 3))}, "x: expected uint8.*float64"),
        ({"x": np.zeros((N, 8, 8, 3), "uint8")}, r"x: .*\(9, 8, 3\).*8, 8"),
        ({"x": np.zeros((0, 9, 8, 3), "uint8")}, r"x: .*\(0, 9, 8, 3\)"),
        ({"y": np.arange(N) + 1}, "`y`: .*label 50 at index 49"),
        ({"y": np.arange(N - 1)}, "y: expected 50 labels, got 49"),
        ({"batch_size": 0}, "batch_size: .*got 0"),
        ({"batch_size": 2.5}, "batch_size: .*got 2.5"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_bad_input(changes, message, training):
    x, y = examples()
    values = {"x": x, "y": y, "info": make_info(), "batch_size": 16} | changes
    with pytest.raises(InputError, match=message):
        if training:
            training_batches(**values, seed=0, augmentation=None)
        else:
            evaluation_batches(**values)


def test_batch_larger_than_the_data_without_remainder():
    with pytest.raises(InputError, match="batch_size: expected at most 50"):
        batches(batch_size=51, drop_remainder=True)


def test_augmentation_that_does_not_fit():
    with pytest.raises(InputError, match="pad: .*9x8.*got 8"):
        batches(augmentation=Augmentation(pad=8))
