"""Data sets in `.npz` files."""

import numpy as np
import pytest

from keras_ffl.data import load
from keras_ffl.errors import InputError


def write(path, **changed):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 4, 4, 3)).astype("uint8"),
        "y_train": np.arange(6)[:, np.newaxis],
        "x_test": rng.integers(0, 256, (3, 4, 4, 3)).astype("uint8"),
        "y_test": np.array([2, 0, 1]),
        **changed,
    }
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def test_anyone_s_arrays(tmp_path):
    path = tmp_path / "some.npz"
    arrays = write(path, class_names=list("abcdef"))
    dataset = load("npz", path)
    for name in ("x_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(dataset, name), arrays[name])
    np.testing.assert_array_equal(dataset.y_train, np.arange(6))
    assert dataset.info.class_names == tuple("abcdef")
    assert dataset.info.mean == pytest.approx(
        arrays["x_train"].mean(axis=(0, 1, 2))
    )
    assert not dataset.info.flip


@pytest.mark.parametrize(
    "names", [[f"{c}\r" for c in "abcdef"], [c.encode() for c in "abcdef"]]
)
def test_class_names_of_other_systems(names, tmp_path):
    write(tmp_path / "some.npz", class_names=names)
    info = load("npz", tmp_path / "some.npz").info
    assert info.class_names == tuple("abcdef")


def test_cifar_keeps_its_constants(tmp_path):
    write(tmp_path / "cifar100.npz")
    with pytest.warns(UserWarning, match="go up to 5, but cifar100 has 100"):
        info = load("cifar100", str(tmp_path / "cifar100.npz")).info
    assert (info.name, info.num_classes, info.flip) == ("cifar100", 100, True)
    assert info.mean == (129.3, 124.1, 112.4)
    assert info.std == (68.2, 65.4, 70.4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y_test": None}, "the arrays x_train, .*without y_test"),
        ({"x_test": np.zeros((3, 4, 4))}, "`x_test` must be numeric images"),
        ({"y_train": np.full(6, 100)}, "y_train.*0..99, label 100"),
        (
            {"y_train": np.array([None] * 6)},
            r"\.npz can't be read .*ValueError: Object arrays",
        ),
    ],
)
def test_bad_arrays(content, message, tmp_path):
    write(tmp_path / "cifar100.npz", **content)
    with pytest.raises(InputError, match=message):
        load("cifar100", str(tmp_path / "cifar100.npz"))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"text"])
def test_bad_files(content, tmp_path):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="`data_dir`: .*data.npz can't be"):
        load("npz", path)


def test_damaged_compression(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **write(path))
    whole, refused = path.read_bytes(), 0
    places = range(0, len(whole), 20)
    for place in places:
        path.write_bytes(whole[:place] + b"damaged!" + whole[place + 8 :])
        try:
            load("npz", path)
        except InputError:
            refused += 1
    # Some bytes, such as dates, mean nothing.
    assert refused > 0.8 * len(places)


def test_the_file_must_be_named():
    with pytest.raises(InputError, match="must be a .npz file"):
        load("npz")
