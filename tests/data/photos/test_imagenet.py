"""ImageNet through tensorflow-datasets, prepared from a few small photos."""

import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from support.photo_builders import encoded, smooth

from keras_ffl.data import (
    Batches,
    BatchOptions,
    PhotoOptions,
    from_folder,
    load,
    naming_unreadable,
    split_holdout,
)
from keras_ffl.data.photos import files
from keras_ffl.data.photos.readable import find_unreadable
from keras_ffl.data.photos.records import open_records
from keras_ffl.errors import InputError

OPTIONS = PhotoOptions(16)
COUNTS = {"train": 9, "validation": 4}


def label_of(number):
    return 7 * (number % 3)


def examples(split):
    for number in range(COUNTS[split]):
        name = f"{split}_{number}.JPEG"
        image = smooth(24, 32, seed=number + 100 * (split == "train"))
        yield (
            name,
            {
                "image": io.BytesIO(encoded(image)),
                "label": label_of(number),
                "file_name": name,
            },
        )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir with a very small ImageNet."""
    import tensorflow_datasets as tfds

    def generators(self, manager):
        return {split: list(examples(split)) for split in COUNTS}

    data_dir = tmp_path_factory.mktemp("tfds")
    (data_dir / "downloads" / "manual").mkdir(parents=True)
    (data_dir / "downloads" / "manual" / "archive.tar").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tfds.builder_cls("imagenet2012"), "_split_generators", generators
        )
        load("imagenet2012", data_dir, OPTIONS)
    return data_dir


@pytest.fixture
def dataset(prepared):
    return load("imagenet2012", prepared, OPTIONS)


def everything(batches):
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


def test_what_is_known_of_it(dataset):
    info = dataset.info
    assert (info.name, info.num_classes) == ("imagenet2012", 1000)
    assert info.class_names[:2] == ("n01440764", "n01443537")
    assert (info.input_shape, info.central_crop) == ((16, 16, 3), 0.875)
    assert (info.mean[0], info.std[2], info.flip) == (123.675, 57.375, True)
    assert (dataset.num_train, len(dataset.test)) == (9, 4)
    assert dataset.train.names[8] == "train[8]"
    expected = sorted(map(label_of, range(9)))
    assert sorted(dataset.y_train.tolist()) == expected


def test_the_same_as_from_files(dataset, tmp_path):
    """Evaluation shows the photos that files with these bytes do."""
    for split in ("train", "val"):
        for number, (name, example) in enumerate(examples("validation")):
            folder = tmp_path / split / f"{label_of(number):02}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(example["image"].getvalue())
    files = from_folder(tmp_path, OPTIONS)
    images, labels = everything(dataset.evaluation_batches(3))
    others, other_labels = everything(files.evaluation_batches(3))
    np.testing.assert_array_equal(labels, dataset.y_test)
    classes = np.array([0, 7, 14])
    # tensorflow-datasets shuffles when it prepares.
    order = [
        next(i for i in range(4) if np.array_equal(images[i], other))
        for other in others
    ]
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_array_equal(labels[order], classes[other_labels])


def test_epochs_and_resuming(prepared, dataset, monkeypatch):
    images, labels = everything(dataset.training_batches(4, 0, epochs=2))
    for epoch in (labels[:9], labels[9:]):
        assert sorted(epoch) == sorted(dataset.y_train)
    assert not np.array_equal(labels[:9], labels[9:])
    monkeypatch.setattr(files, "_KEEP_BYTES", 0)
    streamed = load("imagenet2012", prepared, OPTIONS)
    resumed = everything(
        streamed.training_batches(4, 0, initial_epoch=1, epochs=2)
    )
    np.testing.assert_array_equal(images[9:], resumed[0])
    np.testing.assert_array_equal(labels[9:], resumed[1])


def test_holdout(dataset):
    rest, part = split_holdout(dataset, 1 / 3)
    assert (rest.num_train, len(part.test)) == (6, 3)
    assert set(rest.train.names) | set(part.test.names) == set(
        dataset.train.names
    )
    _, labels = everything(part.evaluation_batches())
    np.testing.assert_array_equal(labels, part.y_test)
    assert sorted(labels) == [0, 7, 14]


# --- damage --------------------------------------------------------------


def record(image):
    def feature(**values):
        return tf.train.Feature(**values)

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "image": feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": feature(int64_list=tf.train.Int64List(value=[3])),
            }
        )
    ).SerializeToString()


@pytest.fixture
def shards(tmp_path):
    """Three files of two, no and three records, the fourth one no photo."""
    numbers = iter(range(5))
    paths = []
    for count in (2, 0, 3):
        paths.append(tmp_path / f"shard{len(paths)}")
        with tf.io.TFRecordWriter(str(paths[-1])) as writer:
            for number in [next(numbers) for _ in range(count)]:
                image = encoded(smooth(9, 9 + number))
                writer.write(record(b"none" if number == 3 else image))
    return paths


def test_records_are_found_in_all_files(shards):
    records = open_records("train", shards)
    assert len(records) == 5
    assert records.labels.tolist() == [3] * 5
    some = records.take(np.array([4, 0]))
    assert some.names.tolist() == ["train[4]", "train[0]"]
    widths = [
        tf.io.extract_jpeg_shape(some.from_disk(i)[0])[1] for i in range(2)
    ]
    assert widths == [13, 9]


def test_a_photo_that_can_not_be_decoded_is_named(shards, dataset):
    records = open_records("train", shards)
    assert list(find_unreadable(records)) == [3]
    batches = Batches(records, dataset.info, BatchOptions(2))
    with pytest.raises(InputError, match=r"^photo train\[3\] can't be"):
        with naming_unreadable():
            list(batches)


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_file_that_ends_too_early(shards, cut):
    shards[2].write_bytes(shards[2].read_bytes()[:-cut])
    with pytest.raises(InputError, match="shard2 ends within a record"):
        open_records("train", shards)


def test_without_the_archives(tmp_path):
    with pytest.raises(InputError) as error:
        load("imagenet2012", tmp_path, OPTIONS)
    message = str(error.value)
    assert "\n" not in message
    assert str(tmp_path / "imagenet2012") in message
    assert "ILSVRC2012_img_train.tar" in message
    assert "manual" in message


def test_a_shard_is_gone(prepared, tmp_path):
    data_dir = shutil.copytree(prepared, tmp_path / "tfds")
    (shard,) = data_dir.rglob("*-train.tfrecord*")
    shard.unlink()
    with pytest.raises(InputError, match="incomplete or damaged .*No such"):
        load("imagenet2012", data_dir, OPTIONS)
