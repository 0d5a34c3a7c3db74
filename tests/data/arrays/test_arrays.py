"""Data sets as arrays: their description, anyone's arrays, the holdout."""

import json
import re

import numpy as np
import pytest

from keras_ffl.data import Dataset, DatasetInfo, from_arrays, split_holdout
from keras_ffl.errors import InputError


def arrays(n=40, m=20, shape=(6, 5, 3), classes=4):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (n + m, *shape), dtype="uint8")
    y = np.arange(n + m) % classes
    return x[:n], y[:n], x[n:], y[n:]


# --- DatasetInfo ---------------------------------------------------------


def info_fields(**changes):
    return {
        "name": "two",
        "num_classes": 2,
        "input_shape": (4, 4, 1),
        "class_names": ("a", "b"),
        "mean": (10.1,),
        "std": (3.3,),
        "flip": False,
    } | changes


def test_info_survives_json():
    info = DatasetInfo(**info_fields())
    assert DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"class_names": ("a",)}, "`class_names` of .* 'two' must have 2"),
        ({"mean": (1.0, 2.0)}, "`mean` of data set 'two' must have 1 entries"),
        ({"std": (0.0,)}, "`std` of data set 'two' must be positive"),
        ({"input_shape": (4, 1)}, "`input_shape` of .* 'two' must have 3"),
        ({"class_names": ("a", "\udce9")}, r"aren't UTF-8, got '.udce9'"),
        ({"central_crop": 0.5}, "None for images of 1 channels .* got 0.5"),
    ],
)
def test_info_refuses_contradictions(changes, message):
    with pytest.raises(InputError, match=message):
        DatasetInfo(**info_fields(**changes))


def test_info_from_dict_names_the_fields():
    fields = info_fields()
    del fields["std"]
    with pytest.raises(InputError, match="must be .*'std'"):
        DatasetInfo.from_dict(fields)


# --- from_arrays ---------------------------------------------------------


def test_from_arrays():
    x_train, y_train, x_test, y_test = arrays()
    dataset = from_arrays(x_train, y_train, x_test, y_test, flip=True)
    pixels = x_train.reshape(-1, 3).astype("float64")
    assert dataset.info == DatasetInfo(
        "arrays",
        4,
        (6, 5, 3),
        ("0", "1", "2", "3"),
        dataset.info.mean,
        dataset.info.std,
        flip=True,
    )
    np.testing.assert_allclose(dataset.info.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.info.std, pixels.std(0), rtol=1e-12)
    np.testing.assert_array_equal(dataset.x_train, x_train)
    np.testing.assert_array_equal(dataset.y_test, y_test)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_from_arrays_casts_what_is_exact(dtype):
    x_train, y_train, x_test, y_test = arrays()
    dataset = from_arrays(
        x_train.astype(dtype), y_train, x_test.astype(dtype), y_test
    )
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    np.testing.assert_array_equal(dataset.x_train, x_train)


def test_from_arrays_counts_classes():
    x_train, y_train, x_test, y_test = arrays()

    def made(y_train=y_train, **options):
        return from_arrays(x_train, y_train, x_test, y_test, **options).info

    assert made().num_classes == 4
    assert made(num_classes=7).num_classes == 7
    assert made(class_names=["a", "b", "c", "d", "e"]).num_classes == 5
    assert made(class_names=["a", "b", "c", "d", "e"]).class_names[4] == "e"
    assert made(y_train[:, np.newaxis]).num_classes == 4
    one_hot = np.eye(6)
    rows = from_arrays(x_train, one_hot[y_train], x_test, one_hot[y_test])
    assert rows.info.num_classes == 6
    assert rows.y_train.shape == (40, 6)
    np.testing.assert_array_equal(rows.y_test, y_test)
    mixed = from_arrays(x_train, y_train, x_test, one_hot[y_test])
    assert mixed.info.num_classes == 6
    np.testing.assert_array_equal(mixed.y_test, y_test)
    with pytest.warns(UserWarning, match="of 4 classes, but .* makes 5 of"):
        assert made(y_train + 1).num_classes == 5


def test_forms_of_test_labels():
    x_train, y_train, x_test, y_test = arrays()
    info = from_arrays(x_train, y_train, x_test, y_test).info
    columns = y_train[:, None], y_test[:, None]
    dataset = Dataset(info, x_train, columns[0], x_test, columns[1])
    np.testing.assert_array_equal(dataset.y_test, y_test)
    _, part = split_holdout(dataset, 0.25)
    assert np.bincount(part.y_test).tolist() == [3, 3, 2, 2]
    rows = np.eye(4)[y_test].tolist()
    dataset = Dataset(info, x_train, y_train, x_test, rows)
    np.testing.assert_array_equal(dataset.y_test, y_test)
    with pytest.raises(InputError, match="`y_test`: every row must be"):
        Dataset(info, x_train, y_train, x_test, np.zeros((len(y_test), 4)))


def test_from_arrays_makes_whole_labels_integers():
    x_train, y_train, x_test, y_test = arrays()
    dataset = from_arrays(x_train, y_train * 1.0, x_test, y_test[:, None] * 1.0)
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    np.testing.assert_array_equal(dataset.y_test, y_test)


def test_from_arrays_with_a_constant_channel():
    x_train, y_train, x_test, y_test = arrays()
    x_train[..., 1] = 9
    info = from_arrays(x_train, y_train, x_test, y_test).info
    assert info.mean[1] == 9
    assert info.std[1] == 1


def test_moments_of_large_images():
    x = np.random.default_rng(0).integers(0, 256, (20, 400, 300, 2), "uint8")
    info = from_arrays(x, np.arange(20) % 2, x[:2], [0, 1]).info
    pixels = x.reshape(-1, 2).astype("float64")
    np.testing.assert_allclose(info.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(info.std, pixels.std(0), rtol=1e-12)


def bad(position, change):
    values = list(arrays())
    values[position] = change(values[position])
    return values


@pytest.mark.parametrize(
    "values, options, message",
    [
        (bad(0, lambda x: x / 255), {}, "`x_train` .*whole numbers.*np.rint"),
        (bad(0, lambda x: x + 1.0), {}, r"`x_train` .*0\.\.255, got .*256"),
        (bad(2, lambda x: x - 1.0), {}, r"`x_test` must .*0\.\.255, got -1"),
        (bad(0, lambda x: x * np.nan), {}, "`x_train` must .*got nan"),
        (bad(2, lambda x: x[..., 0]), {}, r"`x_test` must .*\(20, 6, 5\)"),
        (bad(0, lambda x: x[:0]), {}, r"`x_train` must .*\(0, 6, 5, 3\)"),
        (bad(0, lambda x: x.astype(str)), {}, "`x_train` must .*of <U3"),
        (
            bad(2, lambda x: x[:, :5]),
            {},
            r"`x_test` .*\(6, 5, 3\), got \(5, 5",
        ),
        (bad(1, lambda y: y[1:]), {}, "`y_train` must be 40 .*got 39"),
        (bad(3, lambda y: y + 3), {"num_classes": 4}, "y_test.*label 4 at"),
        (
            bad(3, lambda y: y - 1),
            {},
            r"`y_test` must be integers >= 0 \(n,\).* \(20,\) .*the least -1",
        ),
        (
            bad(1, lambda y: y.reshape(4, 2, 5)),
            {},
            r"`y_train` must be .*, got shape \(4, 2, 5\) of int64$",
        ),
        (bad(1, lambda y: y * 0.5), {}, "y_train.*float64"),
        (
            arrays(),
            {"class_names": ["a", "b\n", "c", "d"]},
            r"`class_names` of .* no line breaks .*got 'b\\n'",
        ),
        (
            arrays(),
            {"num_classes": 4, "class_names": ["a"]},
            "`class_names` of .* 'arrays' must have 4 entries, got 1",
        ),
    ],
)
def test_from_arrays_refuses(values, options, message):
    with pytest.raises(InputError, match=message) as error:
        from_arrays(*values, **options)
    assert "\n" not in str(error.value)


# --- split_holdout -------------------------------------------------------


def numbered(y):
    """A data set whose images carry their number."""
    n = len(y)
    x = np.zeros((n, 2, 2, 2), "uint8")
    x[..., 0], x[..., 1] = (
        (np.arange(n) // 256)[:, None, None],
        (np.arange(n) % 256)[:, None, None],
    )
    return from_arrays(x, y, x[:2], y[:2])


def numbers(x):
    return x[:, 0, 0, 0].astype(int) * 256 + x[:, 0, 0, 1]


@pytest.mark.parametrize("one_hot", [False, True])
def test_holdout(one_hot):
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    labels = np.random.default_rng(0).permutation(labels)
    y = np.eye(3)[labels] if one_hot else labels
    dataset = numbered(y)
    rest, part = split_holdout(dataset, 0.1)
    kept, held_out = numbers(rest.x_train), numbers(part.x_test)
    assert (np.bincount(labels[held_out]) == [50, 30, 20]).all()
    np.testing.assert_array_equal(
        np.sort(np.concatenate([kept, held_out])), np.arange(1000)
    )
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(rest.y_train, y[kept])
    np.testing.assert_array_equal(part.y_test, labels[held_out])
    assert part.x_train is rest.x_train
    assert isinstance(rest, Dataset)
    assert rest.info == dataset.info
    assert rest.x_test is dataset.x_test
    assert len(dataset.x_train) == 1000


def test_holdout_depends_on_the_seed_alone():
    dataset = numbered(np.arange(600) % 3)
    first = numbers(split_holdout(dataset, 0.2, seed=1)[1].x_test)
    again = numbers(split_holdout(dataset, 0.2, seed=1)[1].x_test)
    other = numbers(split_holdout(dataset, 0.2, seed=2)[1].x_test)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_holdout():
    dataset = numbered(np.arange(6) % 3)
    assert split_holdout(dataset, 0) == (dataset, None)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), "a"])
def test_holdout_out_of_range(fraction):
    with pytest.raises(InputError, match=re.escape(f"got {fraction!r}")):
        split_holdout(numbered(np.arange(6) % 3), fraction)


def test_holdout_too_small_for_all_classes():
    with pytest.raises(InputError, match="`holdout`: 0.1 of 12 images of 3"):
        split_holdout(numbered(np.arange(12) % 3), 0.1)
