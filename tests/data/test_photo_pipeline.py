"""Batches of photos: order, draws, labels, reading, unreadable files."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from photo_builders import box_resized, encoded, make_folder, smooth

from keras_ffl.data import (
    Augmentation,
    PhotoOptions,
    draw_crops,
    draw_epoch,
    from_folder,
    naming_unreadable,
    photo_files,
)
from keras_ffl.data.photo_decoding import random_box
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


def run(dataset, seed=0, augmentation=Augmentation(), batch_size=3, **options):
    batches = numbered(dataset).training_batches(
        batch_size, seed, augmentation, **options
    )
    return list(batches.as_numpy_iterator())


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
    crops = draw_crops(seed, epoch, N)
    flips = draw_epoch(seed, epoch, N, Augmentation(pad=0))["flip"].numpy()
    assert 0 < flips.sum() < N
    for images, labels in batches:
        assert (images.dtype, labels.dtype) == (np.float32, np.int32)
        for image, i in zip(images, labels):
            whole = tf.io.decode_jpeg(
                tf.io.read_file(f"{photos.train.root}/{photos.train.names[i]}")
            ).numpy()
            own = {name: values[i] for name, values in crops.items()}
            box = random_box(tf.constant(whole.shape[:2]), own).numpy()
            expected = normal(box_resized(whole, box, SIZE), photos.info)
            if flips[i]:
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
    batches = run(photos, epochs=2, drop_remainder=True)
    assert [len(y) for _, y in batches] == [3, 3, 3, 3]
    images, labels = photos.training_batches(3, 0).element_spec
    assert images == tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)
    assert labels == tf.TensorSpec((None,), tf.int32)


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
        hidden = np.abs(images).max(axis=-1) < 1e-6
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
    with pytest.warns(UserWarning, match="mixup"):
        mixed = run(photos, augmentation=Augmentation(mixup=0.5))
    assert [x.shape for x, _ in mixed] == [(3, SIZE, SIZE, 3)] * 2 + [
        (1, SIZE, SIZE, 3)
    ]
    np.testing.assert_allclose(mixed[0][1].sum(axis=1), 1, rtol=1e-5)


# --- a process's part ----------------------------------------------------


def second_and_empty(batches):
    """The second photo of every batch, then none: as small replicas have."""
    return batches.flat_map(
        lambda i: tf.data.Dataset.range(2).map(
            lambda k: tf.cond(k == 0, lambda: i[1:2], lambda: i[:0])
        )
    )


def test_a_part_of_every_batch(photos):
    whole = run(photos, epochs=2)
    part = run(photos, epochs=2, part=second_and_empty)
    assert [len(y) for _, y in part] == [1, 0, 1, 0, 0, 0] * 2
    for (images, labels), (all_images, all_labels) in zip(
        part[::2], whole, strict=True
    ):
        np.testing.assert_array_equal(images, all_images[1:2])
        np.testing.assert_array_equal(labels, all_labels[1:2])
    assert part[-1][0].shape == (0, SIZE, SIZE, 3)


# --- evaluation ----------------------------------------------------------


@pytest.mark.parametrize("one_hot", [False, True])
def test_evaluation_shows_the_centres_in_order(photos, one_hot):
    batches = list(photos.evaluation_batches(3, one_hot).as_numpy_iterator())
    assert [len(y) for _, y in batches] == [3, 1]
    labels = labels_of(batches)
    expected = np.eye(3, dtype="float32") if one_hot else np.arange(3)
    np.testing.assert_array_equal(labels, expected[photos.y_test])
    images = np.concatenate([x for x, _ in batches])
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
    ((images, _),) = dataset.evaluation_batches().as_numpy_iterator()
    resized = image.resize((round(120 * 256 / 90), 256), 2)
    left = (resized.width - 224) // 2
    expected = np.asarray(resized.crop((left, 16, left + 224, 240)))
    difference = images[0] * dataset.info.std + dataset.info.mean - expected
    # A box of whole pixels of the photo: off by half of one at the most,
    # which is little in a smooth image.
    assert np.abs(difference).max() < 8
    assert np.abs(difference).mean() < 2.5


# --- reading -------------------------------------------------------------


def test_kept_in_memory_or_not_is_the_same(photos, folder, monkeypatch):
    kept = run(photos, epochs=2), list(photos.evaluation_batches(3))
    assert photos.train._fit_into_memory
    monkeypatch.setattr(photo_files, "_KEEP_BYTES", 3000)
    streamed = make_folder_of(folder)
    assert_same(kept[0], run(streamed, epochs=2))
    assert_same(kept[1], list(streamed.evaluation_batches(3)))
    assert not streamed.train._fit_into_memory
    assert "_contents" in photos.train.__dict__
    assert "_contents" not in streamed.train.__dict__


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
    monkeypatch.setattr(photo_files, "_KEEP_BYTES", keep)
    make_folder(tmp_path, (2,), (2,))
    bad = tmp_path / ("train" if training else "val") / "b0" / name
    bad.write_bytes(bad.read_bytes()[:200])
    dataset = make_folder_of(tmp_path)
    batches = (
        dataset.training_batches(2, 0)
        if training
        else dataset.evaluation_batches(1)
    )
    with pytest.raises(InputError) as error, naming_unreadable():
        list(batches)
    assert str(error.value).startswith(f"photo {bad} can't be read or decoded")


def test_a_file_that_is_gone(tmp_path, monkeypatch):
    make_folder(tmp_path, (2,), (2,))
    dataset = make_folder_of(tmp_path)
    gone = tmp_path / "train" / "b0" / "1.jpg"
    gone.unlink()
    with pytest.raises(InputError, match=f"{gone}; No such file"):
        dataset.training_batches(2, 0)
    monkeypatch.setattr(photo_files, "_KEEP_BYTES", 0)
    dataset = make_folder_of(make_folder(tmp_path / "again", (2,), (2,)))
    gone = tmp_path / "again" / "train" / "b0" / "1.jpg"
    gone.unlink()
    with pytest.raises(InputError, match=f"photo {gone} "):
        with naming_unreadable():
            list(dataset.training_batches(2, 0))


def test_other_errors_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG"):
        with naming_unreadable():
            tf.io.decode_jpeg(b"nothing")


@pytest.mark.parametrize(
    "batch_size, options, message",
    [
        (0, {}, "batch_size: .*got 0"),
        (8, {"drop_remainder": True}, "batch_size: expected at most 7"),
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
    images = np.concatenate([x for x, _ in few.training_batches(16, 0)])
    assert images.shape == (60, 64, 64, 3)
    # Normalised by about their own statistics.
    assert np.abs(images.mean()) < 0.5
    assert 0.7 < images.std() < 1.3
