"""Batches of arrays: their order, their shares, and what is fed of them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.backend.tensorflow.feed import feed, normalized_batch
from keras_ffl.data import (
    Augmentation,
    Batches,
    DatasetInfo,
    Share,
    evaluation_batches,
    normalize,
    steps_per_call,
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


def make(seed=0, augmentation=Augmentation(cutout=3), **options):
    return training_batches(
        *examples(),
        make_info(),
        seed=seed,
        augmentation=augmentation,
        **({"batch_size": 16} | options),
    )


def batches(*arguments, **options):
    return list(make(*arguments, **options))


def fed(made):
    """What a step on TensorFlow is given, in NumPy."""
    return [
        tuple(t.numpy() for t in normalized_batch(batch)[:2])
        for batch in feed(made, tf.distribute.get_strategy())
    ]


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
    run = batches(epochs=2, smallest=16)
    assert len(run) == 2 * steps_per_epoch(N, 16, smallest=16) == 6
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
    made = training_batches(*examples(), make_info(), N, 7, None, epochs=400)
    orders = np.array([made.plan(epoch).example for epoch in range(400)])
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


ALL = Augmentation(
    pad=3,
    cutout=3,
    randaugment=8,
    cutmix=1.0,
    mixup=0.4,
    label_smoothing=0.1,
)


@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(pad=3),
        Augmentation(pad=3, padding="constant", flip=False, cutout=4),
        Augmentation(mixup=0.4),
        ALL,
    ],
    ids=["none", "crop", "cutout", "mixup", "all"],
)
def test_what_is_fed_is_what_is_iterated(augmentation):
    made = make(4, augmentation, initial_epoch=5, epochs=6)
    run = list(made)
    assert_same(run, fed(made))
    assert len(run) == len(made) == 4
    assert_same([made[3]], run[3:])
    with pytest.raises(IndexError):
        made[4]


def test_augmentation_of_a_plan():
    """The transform has its own tests; this is about whose rows are whose."""
    made = make(4, Augmentation(pad=3, flip=False), initial_epoch=5, epochs=6)
    x, _ = examples()
    padded = np.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)], "reflect")
    plan = made.plan(5)
    images = np.concatenate([images for images, _ in made])
    for image, i, (top, left) in zip(images, plan.example, plan.crop + 3):
        expected = padded[i, top : top + 9, left : left + 8]
        np.testing.assert_array_equal(image, normalize(expected, make_info()))


def test_images_are_bytes_until_the_step():
    for augmentation, dtype in (
        (Augmentation(label_smoothing=0.1, randaugment=4), tf.uint8),
        (Augmentation(cutout=2), tf.float32),
        (Augmentation(mixup=0.2), tf.float32),
    ):
        dataset = feed(make(0, augmentation), tf.distribute.get_strategy())
        pixels, _ = dataset.element_spec
        assert pixels.values == tf.TensorSpec((None, 9, 8, 3), dtype)


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
    for (_, rows), (_, labels) in zip(dataset, batches(), strict=True):
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows.argmax(axis=1), labels)


def test_mixed_labels_are_rows():
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
        run,
        batches(augmentation=Augmentation()),
        strict=True,
    ):
        np.testing.assert_array_equal(images, others)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(
            rows, 0.9 * np.eye(N)[labels] + 0.1 / N, rtol=1e-6
        )


# --- shares --------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, 15, 47])
@pytest.mark.parametrize("total", [2, 3, 4])
def test_shares_of_every_batch(batch_size, total):
    # RandAugment knows one image only, and takes long.
    augmentation = dataclasses.replace(ALL, randaugment=0)
    whole = make(3, augmentation, batch_size=batch_size, smallest=2)
    run = list(whole)
    for first in range(total):
        share = Share(first, 1, total)
        part = Batches(
            whole.examples,
            whole.info,
            dataclasses.replace(whole.options, share=share),
        )
        expected = []
        for x, y in run:
            ((start, stop),) = share.slices([[0, len(x)]])
            expected.append((x[start:stop], y[start:stop]))
        assert_same(fed(part), expected)


def test_a_process_of_several_replicas():
    whole = batches(epochs=2)
    part = batches(epochs=2, share=Share(0, 2, 2))
    assert [len(y) for _, y in part] == [8, 8, 8, 8, 8, 8, 1, 1] * 2
    for k, (x, y) in enumerate(whole):
        (first, _), (second, _) = part[2 * k : 2 * k + 2]
        np.testing.assert_array_equal(np.concatenate([first, second]), x)


def test_empty_shares_in_evaluation():
    x, y = examples()
    made = evaluation_batches(x, y, make_info(), 16, share=Share(0, 1, 4))
    for run in (list(made), fed(made)):
        assert [labels.tolist() for _, labels in run] == [
            [0, 1, 2, 3],
            [16, 17, 18, 19],
            [32, 33, 34, 35],
            [],
        ]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"smallest": 16}, 16),
        ({}, None),
        ({"batch_size": 25}, 25),
        ({"smallest": 16, "share": Share(0, 2, 4)}, 4),
        ({"smallest": 16, "share": Share(1, 2, 3)}, None),
    ],
)
def test_static_shapes_where_all_batches_are_of_one_size(options, rows):
    dataset = feed(
        make(0, Augmentation(mixup=0.3), **options),
        tf.distribute.get_strategy(),
    )
    pixels, labels = dataset.element_spec
    assert pixels.values.shape.as_list() == [rows, 9, 8, 3]
    assert labels.shape.as_list() == [rows, N]


# --- calls of several steps ----------------------------------------------


def test_calls_of_several_steps():
    made = make(batch_size=8, steps_per_call=4)
    # Six full batches as 4 + 2, and the last one alone.
    assert made.calls.tolist() == [[0, 4], [4, 6], [6, 7]]
    assert make(batch_size=8).calls.tolist() == [[k, k + 1] for k in range(7)]
    with pytest.raises(InputError, match="`steps_per_call` must be 1 .*got 4"):
        feed(made, tf.distribute.get_strategy())


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [
        (50_000, 128, 39),  # 390 full batches
        (1024, 256, 4),
        (100, 128, 1),
        (101 * 8, 8, 32),  # A prime number of batches.
    ],
)
def test_steps_per_call_on_an_accelerator(n, batch_size, expected):
    assert steps_per_call(n, batch_size) == expected


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
    run = list(evaluation_batches(x, y, make_info(), 20))
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
    (_, rows), *rest = run
    assert not rest
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.eye(N)[y])


# --- bad input -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": np.zeros((N, 9, 8, 3))}, "`x` must be uint8.*float64"),
        (
            {"x": np.zeros((N, 8, 8, 3), "uint8")},
            r"`x` must .*\(9, 8, 3\).*8, 8",
        ),
        ({"x": np.zeros((0, 9, 8, 3), "uint8")}, r"`x` must .*\(0, 9, 8, 3\)"),
        ({"y": np.arange(N) + 1}, "`y`: .*label 50 at index 49"),
        ({"y": np.arange(N - 1)}, "`y` must be 50 labels, got 49"),
        ({"batch_size": 0}, "`batch_size` must be .*got 0"),
        ({"batch_size": 2.5}, "`batch_size` must be .*got 2.5"),
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
    with pytest.raises(InputError, match="`batch_size` must be at most 50"):
        batches(batch_size=51, smallest=51)


@pytest.mark.parametrize("drawn", [{"pad": 1}, {"flip": True}, {"mixup": 1.0}])
def test_an_augmentation_without_a_seed(drawn):
    x, y = examples()
    still = {"pad": 0, "flip": False, "label_smoothing": 0.1}
    training_batches(x, y, make_info(), 16, None, Augmentation(**still))
    with pytest.raises(InputError, match="`seed` must be an int >= 0 for an a"):
        training_batches(
            x, y, make_info(), 16, None, Augmentation(**(still | drawn))
        )


def test_augmentation_that_does_not_fit():
    with pytest.raises(InputError, match="`pad` must be .*9x8.*got 8"):
        batches(augmentation=Augmentation(pad=8))
