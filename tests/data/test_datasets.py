"""Data sets by name: the embedded digits and tensorflow-datasets."""

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.data import DATASETS, DatasetInfo, load
from keras_ffl.errors import InputError

# --- digits --------------------------------------------------------------


def test_digits():
    dataset = load("digits")
    info = dataset.info
    assert info.name == "digits"
    assert info.class_names == tuple("0123456789")
    assert not info.flip
    assert dataset.x_train.shape == (1437, 16, 16, 1)
    assert dataset.x_test.shape == (360, 16, 16, 1)
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert dataset.x_train.min() == 0
    assert dataset.x_train.max() == 255
    pixels = dataset.x_train.astype("float64")
    np.testing.assert_allclose(info.mean, [pixels.mean()], rtol=1e-12)
    np.testing.assert_allclose(info.std, [pixels.std()], rtol=1e-12)


def test_digits_are_stratified():
    dataset = load("digits")
    train = np.bincount(dataset.y_train, minlength=10)
    test = np.bincount(dataset.y_test, minlength=10)
    assert (np.abs(test - 0.2 * (train + test)) < 1).all()


def test_digits_have_no_folder():
    with pytest.raises(InputError, match="`data_dir` has no meaning .*'there'"):
        load("digits", "there")


def test_digits_are_always_the_same():
    first, second = load("digits"), load("digits")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(
            getattr(first, name), getattr(second, name)
        )


def test_digits_are_enlarged_bilinearly():
    from sklearn.datasets import load_digits

    source = load_digits().images
    # An axis of 8 to 16: each new pixel lies a quarter pixel beside an old
    # one, and the border pixels are repeated outwards.
    weights = np.zeros((16, 8))
    for new in range(16):
        position = (new + 0.5) / 2 - 0.5
        low = int(np.floor(position))
        for old, weight in (
            (low, low + 1 - position),
            (low + 1, position - low),
        ):
            weights[new, np.clip(old, 0, 7)] += weight
    expected = np.einsum("ih,nhw,jw->nij", weights, source, weights)
    expected = np.rint(expected * 255 / 16)
    dataset = load("digits")
    ours = np.concatenate([dataset.x_train, dataset.x_test])[..., 0]

    def ordered(images):
        flat = images.reshape(len(images), -1).astype(int)
        return flat[np.lexsort(flat.T)]

    np.testing.assert_array_equal(ordered(ours), ordered(expected))


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError) as error:
        load("cifar1000")
    assert "'cifar1000'" in str(error.value)
    assert ", ".join(DATASETS) in str(error.value)


# --- tensorflow-datasets -------------------------------------------------


CIFAR10_CLASSES = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()
)


def fake_examples(n, shape, classes):
    rng = np.random.default_rng(n)
    for i in range(n):
        example = {
            "image": rng.integers(0, 256, shape, dtype="uint8"),
            "label": (7 * i) % classes,
        }
        yield i, example


def replace_download(monkeypatch, name, shape):
    """Lets tensorflow-datasets prepare 20 + 10 random images instead."""
    import tensorflow_datasets as tfds

    def generators(self, manager):
        splits = {
            "train": list(fake_examples(20, shape, 10)),
            "test": list(fake_examples(10, shape, 10)),
        }
        if name == "cifar10":
            # These come from the archive, as its images do.
            self.info.features["label"].names = CIFAR10_CLASSES
            for rows in splits.values():
                for i, example in rows:
                    example["id"] = str(i)
        return splits

    monkeypatch.setattr(tfds.builder_cls(name), "_split_generators", generators)


@pytest.mark.parametrize(
    "name, shape, mean, std, first_class",
    [
        (
            "cifar10",
            (32, 32, 3),
            (125.3, 123.0, 113.9),
            (63.0, 62.1, 66.7),
            "airplane",
        ),
        ("fashion_mnist", (28, 28, 1), (72.9,), (90.0,), "T-shirt/top"),
    ],
)
def test_prepares_then_reads(
    name, shape, mean, std, first_class, monkeypatch, tmp_path
):
    import tensorflow_datasets as tfds

    replace_download(monkeypatch, name, shape)
    dataset = load(name, tmp_path)
    assert dataset.info == DatasetInfo(
        name, 10, shape, dataset.info.class_names, mean, std, flip=True
    )
    assert dataset.info.class_names[0] == first_class
    for n, x, y in (
        (20, dataset.x_train, dataset.y_train),
        (10, dataset.x_test, dataset.y_test),
    ):
        assert x.dtype == np.uint8
        # tensorflow-datasets shuffles when it prepares.
        assert sorted(zip([i.tobytes() for i in x], y)) == sorted(
            (example["image"].tobytes(), example["label"])
            for _, example in fake_examples(n, shape, 10)
        )

    monkeypatch.delattr(tfds.core.DatasetBuilder, "download_and_prepare")
    again = load(name, str(tmp_path))
    np.testing.assert_array_equal(again.x_train, dataset.x_train)
    np.testing.assert_array_equal(again.y_test, dataset.y_test)


def test_download_that_fails(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    def fail(self):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError) as error:
        load("cifar10", tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert "'cifar10'" in message
    assert str(tmp_path / "cifar10") in message
    assert message.endswith("ConnectionError: no route to host")


def test_data_dir_that_is_not_there(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(InputError, match=f"`data_dir` must be .*{missing}"):
        load("cifar100", missing)
    assert not missing.exists()


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match="the package tensorflow-datasets"):
        load("cifar10")


def test_cifar100(shared_data):
    dataset = load("cifar100", shared_data / "tfds")
    assert dataset.x_train.shape == (50000, 32, 32, 3)
    assert dataset.x_test.shape == (10000, 32, 32, 3)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.info.class_names[:3] == ("apple", "aquarium_fish", "baby")
    # The fine labels: 100 classes of 500 and 100 images.
    assert (np.bincount(dataset.y_train) == np.full(100, 500)).all()
    assert (np.bincount(dataset.y_test) == np.full(100, 100)).all()
    # The constants are those of the training images to their precision.
    pixels = dataset.x_train.reshape(-1, 3)
    np.testing.assert_allclose(dataset.info.mean, pixels.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(dataset.info.std, pixels.std(axis=0), atol=0.1)


@pytest.fixture(scope="module")
def few_of_cifar100(shared_data, tmp_path_factory):
    """A data_dir with the first 60 and 30 examples of CIFAR-100."""
    source = shared_data / "tfds" / "cifar100" / "3.0.2"
    folder = tmp_path_factory.mktemp("tfds") / "cifar100" / "3.0.2"
    folder.mkdir(parents=True)
    for file in source.glob("*.labels.txt"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(source / "features.json", folder / "features.json")
    info = (source / "dataset_info.json").read_text()
    for split, old, new in (("train", 50000, 60), ("test", 10000, 30)):
        info = info.replace(f'"{old}"', f'"{new}"')
        name = f"cifar100-{split}.tfrecord-00000-of-00001"
        records = tf.data.TFRecordDataset(str(source / name)).take(new)
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for record in records:
                writer.write(record.numpy())
    (folder / "dataset_info.json").write_text(info)
    return folder.parent.parent


def test_few_of_cifar100_are_whole(few_of_cifar100):
    dataset = load("cifar100", few_of_cifar100)
    assert dataset.x_train.shape == (60, 32, 32, 3)
    assert dataset.x_test.shape == (30, 32, 32, 3)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def claim_another_example(file):
    file.write_text(file.read_text().replace('"60"', '"61"'))


def forget_splits(file):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"splits": []}))


def remove(file):
    file.unlink()


@pytest.mark.parametrize(
    "file, damage, reason",
    [
        ("cifar100-train.tfrecord-00000-of-00001", remove, "No such file"),
        ("cifar100-test.tfrecord-00000-of-00001", remove, "No such file"),
        ("cifar100-train.tfrecord-00000-of-00001", truncate, "truncated"),
        ("dataset_info.json", remove, "dataset_info.json is missing"),
        ("dataset_info.json", truncate, "JSON"),
        ("dataset_info.json", claim_another_example, "contain 61 elements"),
        ("dataset_info.json", forget_splits, "splits"),
        ("label.labels.txt", remove, "label.labels.txt is missing"),
        ("label.labels.txt", truncate, "class_names"),
    ],
)
def test_half_written_data(file, damage, reason, few_of_cifar100, tmp_path):
    data_dir = shutil.copytree(few_of_cifar100, tmp_path / "tfds")
    damage(data_dir / "cifar100" / "3.0.2" / file)
    with pytest.raises(InputError) as error:
        load("cifar100", data_dir)
    message = str(error.value)
    assert "\n" not in message
    assert "{{" not in message
    assert str(data_dir) in message
    assert reason in message
    assert "delete its folder and prepare it again" in message
