"""Batches of photos: order, draws, labels, reading, unreadable files."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from support import fed_batches
from support.photo_builders import box_resized, encoded, make_folder, smooth
from tensorflow.python.data.ops import iterator_ops

from keras_ffl.backend.tensorflow.feed import feed, normalized_batch
from keras_ffl.data import (
    Augmentation,
    PhotoOptions,
    Share,
    from_folder,
    naming_unreadable,
    normalize,
    training_batches,
)
from keras_ffl.data.photos import files
from keras_ffl.data.photos.decoding import random_box
from keras_ffl.errors import InputError

SIZE = 16
N = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven photos of three classes to train on, four to test."""
    return make_folder(tmp_path_factory.mktemp("photos"), (3, 2, 2), (2, 0, 2))


def make_folder_of(root):
    return from_folder(root, PhotoOptions(SIZE))


@pytest.fixture(scope="module")
def photos(folder):
    (folder / "val" / "b1").rmdir()
    return make_folder_of(folder)


def numbered(dataset):
    """The data set with the examples' numbers as labels."""
    train = dataclasses.replace(dataset.train, labels=np.arange(N))
    info = dataclasses.replace(
        dataset.info,
        num_classes=N,
        class_names=[str(i) for i in range(N)],
    )
    return dataclasses.replace(dataset, train=train, info=info)


def make(dataset, seed=0, augmentation=Augmentation(), batch_size=3, **options):
    return numbered(dataset).training_batches(
        batch_size, seed, augmentation, **options
    )


def fed(batches):
    """What a step on TensorFlow is given, in NumPy."""
    dataset = feed(batches, tf.distribute.get_strategy())
    return [
        tuple(t.numpy() for t in normalized_batch(batch)[:2])
        for batch in dataset
    ]


def run(*arguments, **options):
    return fed(make(*arguments, **options))


@pytest.fixture(scope="module")
def epoch(photos):
    """The batches of one epoch."""
    return run(photos)


def assert_same(first, second):
    for (x1, y1), (x2, y2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(y1, y2)
        np.testing.assert_array_equal(x1, x2)


def labels_of(batches):
    return np.concatenate([y for _, y in batches])


def normal(images, info):
    return (images - info.mean) / info.std


# --- training ------------------------------------------------------------


def test_every_photo_once_an_epoch_by_its_own_draws(photos):
    seed, epoch = 4, 5
    batches = run(photos, seed, initial_epoch=epoch, epochs=epoch + 1)
    assert [len(y) for _, y in batches] == [3, 3, 1]
    assert sorted(labels_of(batches)) == list(range(N))
    plan = make(photos, seed).plan(epoch)
    assert 0 < plan.flip.sum() < N
    rows = iter(range(N))
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (np.float32, np.int32)
        for image, i in zip(images, labels):
            whole = tf.io.decode_jpeg(
                tf.io.read_file(f"{photos.train.root}/{photos.train.names[i]}")
            ).numpy()
            row = next(rows)
            assert plan.example[row] == i
            own = {"sides": plan.sides[row], "corner": plan.corner[row]}
            box = random_box(tf.constant(whole.shape[:2]), own).numpy()
            expected = normal(box_resized(whole, box, SIZE), photos.info)
            if plan.flip[row]:
                expected = expected[:, ::-1]
            # Half a value of 0..255; the borders of a box differ a little
            # where it is decoded alone.
            np.testing.assert_allclose(image, expected, atol=0.05)


def test_a_resumed_run_sees_the_same(photos):
    options = {"augmentation": Augmentation(cutout=5)}
    batches = run(photos, epochs=4, **options)
    assert len(batches) == 12
    for epoch in range(4):
        part = batches[3 * epoch : 3 * epoch + 3]
        assert sorted(labels_of(part)) == list(range(N))
    assert_same(batches[9:], run(photos, initial_epoch=3, epochs=4, **options))
    first, second = (
        np.concatenate([x for x, _ in b]) for b in (batches[:3], batches[3:6])
    )
    assert not np.any(np.all(first == second, axis=(1, 2, 3)))
    other = run(photos, seed=1, **options)
    assert not np.array_equal(labels_of(batches[:3]), labels_of(other))


def test_the_batch_size_changes_nothing_else(photos, epoch):
    def together(batches):
        return np.concatenate([x for x, _ in batches]), labels_of(batches)

    others = together(run(photos, batch_size=5))
    for first, second in zip(together(epoch), others):
        np.testing.assert_array_equal(first, second)


def test_without_the_partial_batch_and_static_shapes(photos):
    batches = run(photos, epochs=2, smallest=3)
    assert [len(y) for _, y in batches] == [3, 3, 3, 3]
    dataset = feed(make(photos, smallest=3), tf.distribute.get_strategy())
    pixels, labels = dataset.element_spec
    assert pixels.values == tf.TensorSpec((3, SIZE, SIZE, 3), tf.uint8)
    assert labels == tf.TensorSpec((3,), tf.int32)


def test_what_is_fed_is_what_is_iterated(photos):
    augmentation = Augmentation(cutout=5, mixup=0.3, label_smoothing=0.1)
    for options in (None, augmentation):
        made = make(photos, 3, options, epochs=2)
        whole = fed(made)
        assert_same(list(made), whole)
        assert_same([made[4]], whole[4:5])


def test_flips_and_cutout(photos, epoch):
    plain = run(photos, augmentation=None)
    same = 0
    for (first, _), (second, _) in zip(plain, epoch, strict=True):
        for one, other in zip(first, second):
            same += np.array_equal(one, other)
            assert np.array_equal(one, other) or np.array_equal(
                one, other[:, ::-1]
            )
    assert 0 < same < N
    cut = run(photos, augmentation=Augmentation(cutout=5))
    for (images, _), (others, _) in zip(cut, epoch):
        hidden = (images == 0).all(axis=-1)
        assert (hidden.sum(axis=(1, 2)) >= 9).all()
        np.testing.assert_allclose(images[~hidden], others[~hidden], atol=1e-5)


def test_smoothed_and_mixed_labels(photos, epoch):
    smoothing = Augmentation(label_smoothing=0.2)
    for (images, rows), (others, labels) in zip(
        run(photos, augmentation=smoothing), epoch, strict=True
    ):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_allclose(
            rows, 0.8 * np.eye(N)[labels] + 0.2 / N, rtol=1e-6
        )
    mixed = run(photos, augmentation=Augmentation(mixup=0.5))
    assert [x.shape for x, _ in mixed] == [(3, SIZE, SIZE, 3)] * 2 + [
        (1, SIZE, SIZE, 3)
    ]
    np.testing.assert_allclose(mixed[0][1].sum(axis=1), 1, rtol=1e-5)


# --- shares --------------------------------------------------------------


@pytest.mark.parametrize("total", [2, 3])
def test_shares_of_every_batch(photos, total):
    options = {"augmentation": Augmentation(cutmix=1.0), "epochs": 2}
    whole = run(photos, **options)
    for first in range(total):
        share = Share(first, 1, total)
        part = run(photos, share=share, **options)
        expected = []
        for x, y in whole:
            ((start, stop),) = share.slices([[0, len(x)]])
            expected.append((x[start:stop], y[start:stop]))
        assert [len(y) for _, y in part] == [len(y) for _, y in expected]
        assert_same(part, expected)
    # The last batch has one photo, which is the last replica's.
    assert part[-1][0].shape == (1, SIZE, SIZE, 3)


# --- evaluation ----------------------------------------------------------


@pytest.mark.parametrize("one_hot", [False, True])
def test_evaluation_shows_the_centres_in_order(photos, one_hot):
    batches = fed(photos.evaluation_batches(3, one_hot=one_hot))
    assert [len(y) for _, y in batches] == [3, 1]
    labels = labels_of(batches)
    expected = np.eye(3, dtype="float32") if one_hot else np.arange(3)
    np.testing.assert_array_equal(labels, expected[photos.y_test])
    images = np.concatenate([x for x, _ in batches])
    pixels = photos.test_images()
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(images, normalize(pixels, photos.info))
    np.testing.assert_array_equal(
        photos.test_images(np.array([2, 0])), pixels[[2, 0]]
    )
    for image, name in zip(images, photos.test.names, strict=True):
        whole = tf.io.decode_jpeg(
            tf.io.read_file(f"{photos.test.root}/{name}")
        ).numpy()
        # 24 x 32: 21 of 24 in the centre.
        expected = normal(box_resized(whole, [1, 5, 21, 21], SIZE), photos.info)
        np.testing.assert_allclose(image, expected, atol=0.05)


def test_evaluation_is_resizing_and_cutting(tmp_path):
    """The definition by Pillow, of photos that are enlarged by it."""
    make_folder(tmp_path, (1,), (1,))
    image = smooth(90, 120)
    (tmp_path / "val" / "b0" / "0.jpg").write_bytes(encoded(image, "PNG"))
    dataset = from_folder(tmp_path, PhotoOptions(224))
    ((images, _),) = dataset.evaluation_batches()
    resized = image.resize((round(120 * 256 / 90), 256), 2)
    left = (resized.width - 224) // 2
    expected = np.asarray(resized.crop((left, 16, left + 224, 240)))
    difference = images[0] * dataset.info.std + dataset.info.mean - expected
    # A box of whole pixels of the photo: off by half of one at the most,
    # which is little in a smooth image.
    assert np.abs(difference).max() < 8.5
    assert np.abs(difference).mean() < 2.5


# --- reading -------------------------------------------------------------


def test_kept_in_memory_or_not_is_the_same(photos, folder, monkeypatch):
    made = make(photos, epochs=2)
    kept = fed(made), fed(photos.evaluation_batches(3))
    assert "_contents" in made.examples.__dict__
    monkeypatch.setattr(files, "_KEEP_BYTES", 3000)
    streamed = make_folder_of(folder)
    assert_same(kept[0], run(streamed, epochs=2))
    assert_same(kept[1], fed(streamed.evaluation_batches(3)))
    assert "_contents" not in streamed.test.__dict__


@pytest.mark.parametrize(
    "name, training, keep",
    [
        ("0.jpg", True, 0),
        ("1.jpg", True, 2**30),
        ("0.jpg", False, 2**30),
        ("1.jpg", False, 0),
    ],
)
def test_a_file_that_can_not_be_decoded_is_named(
    name, training, keep, tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "_KEEP_BYTES", keep)
    make_folder(tmp_path, (2,), (2,))
    bad = tmp_path / ("train" if training else "val") / "b0" / name
    bad.write_bytes(bad.read_bytes()[:200])
    dataset = make_folder_of(tmp_path)
    batches = (
        dataset.training_batches(2, 0)
        if training
        else dataset.evaluation_batches(1)
    )
    for draw in (list, fed):
        with pytest.raises(InputError) as error, naming_unreadable():
            draw(batches)
        message = f"photo {bad} can't be read or decoded"
        assert str(error.value).startswith(message)


def test_a_file_that_is_gone(tmp_path, monkeypatch):
    make_folder(tmp_path, (2,), (2,))
    dataset = make_folder_of(tmp_path)
    gone = tmp_path / "train" / "b0" / "1.jpg"
    gone.unlink()
    with pytest.raises(InputError, match=f"{gone}; No such file"):
        fed(dataset.training_batches(2, 0))
    monkeypatch.setattr(files, "_KEEP_BYTES", 0)
    dataset = make_folder_of(make_folder(tmp_path / "again", (2,), (2,)))
    gone = tmp_path / "again" / "train" / "b0" / "1.jpg"
    gone.unlink()
    with pytest.raises(InputError, match=f"photo {gone} "):
        with naming_unreadable():
            fed(dataset.training_batches(2, 0))


def test_other_errors_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG"):
        with naming_unreadable():
            tf.io.decode_jpeg(b"nothing")


@pytest.mark.parametrize(
    "batch_size, options, message",
    [
        (0, {}, "`batch_size` must be .*got 0"),
        (8, {"smallest": 8}, "`batch_size` must be at most 7"),
    ],
)
def test_bad_batch_size(photos, batch_size, options, message):
    with pytest.raises(InputError, match=message):
        photos.training_batches(batch_size, 0, **options)


def test_real_photos(shared_data):
    dataset = from_folder(shared_data / "imagenette_small", PhotoOptions(64))
    assert (dataset.num_train, len(dataset.test)) == (600, 200)
    assert (np.bincount(dataset.y_train) == 60).all()
    few = dataclasses.replace(
        dataset, train=dataset.train.take(range(0, 600, 10))
    )
    images = np.concatenate([x for x, _ in fed(few.training_batches(16, 0))])
    assert images.shape == (60, 64, 64, 3)
    # Normalised by about their own statistics.
    assert np.abs(images.mean()) < 0.5
    assert 0.7 < images.std() < 1.3


def test_no_iterator_is_tuned(folder, monkeypatch):
    """The thread that tunes can keep whoever deletes the iterator waiting."""
    tuned = []
    make = iterator_ops.OwnedIterator.__init__

    def spy(self, dataset=None, *arguments, **options):
        tuned.append(dataset.options().autotune.enabled)
        make(self, dataset, *arguments, **options)

    monkeypatch.setattr(iterator_ops.OwnedIterator, "__init__", spy)
    dataset = from_folder(folder, PhotoOptions(SIZE, verify="stop"))
    in_memory = training_batches(*fed_batches.arrays(), fed_batches.INFO, 4, 0)
    for made in (dataset.training_batches(3, 0), in_memory):
        list(made)
        list(feed(made, tf.distribute.get_strategy()))
    # Verifying training and test photos, iterating photos, feeding both.
    assert tuned == [False] * 5
