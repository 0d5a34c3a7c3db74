"""The parts of a batch, and arrays of labels and weights."""

import keras
import numpy as np
import pytest

from keras_ffl.batch_parts import checked_arrays, described, unpacked
from keras_ffl.errors import InputError
from keras_ffl.labels import check_kind, check_labels

HEADS = ("fused", "sub_1")
X, Y, WEIGHTS = np.zeros((4, 2, 2, 1)), np.array([0, 1, 2, 0]), np.ones(4)


def kind_of_three(y):
    check_kind(y, 3)


def values_of_three(y, argument):
    check_labels(y, 3, argument)


@pytest.mark.parametrize("make", [tuple, list])
@pytest.mark.parametrize("weights", [[], [None], [WEIGHTS]])
def test_parts(make, weights):
    x, y, sample_weight = unpacked(make([X, Y, *weights]), kind_of_three, HEADS)
    assert x is X and y is Y
    assert sample_weight is (weights or [None])[0]


def test_specifications_of_unknown_sizes():
    batch = (
        keras.KerasTensor((None, 2, 2, 1)),
        keras.KerasTensor((None, None)),
        keras.KerasTensor((None, 1)),
    )
    assert unpacked(batch, kind_of_three, HEADS) == batch


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (X, r"a batch must be .*, got float64 \(4, 2, 2, 1\)$"),
        ((X, None), r"a batch must be .* got \(float64 \(4, 2, 2, 1\), None\)"),
        ((X, Y[:3]), "a label for each image, got "),
        ((X, 3), "`y` must be one tensor, .*, got int$"),
        ((X, Y, WEIGHTS[:3]), r"each sample \(4,\), got float64 \(3,\)"),
        ((X, Y, WEIGHTS[0]), r"each sample \(4,\), got float64 \(\)"),
        ((X, Y, np.array(["a"] * 4)), "must hold numbers, got dtype <U1"),
        (
            (X, {"other": Y}),
            r"for all heads \(fused, sub_1\), got {'other': int64 \(4,\)}",
        ),
    ],
)
def test_bad_batches(batch, message):
    with pytest.raises(InputError, match=message):
        unpacked(batch, kind_of_three, HEADS)


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        ([[1, 0, 0], [1, 0]], None, "`labels` must be one tensor"),
        ([Y, Y.copy()], None, "`labels` must be one tensor"),
        ({}, None, "`labels` must be one tensor"),
        ("abc", None, "`labels` must be one tensor, .* got str"),
        (Y + 1, None, r"`labels`: labels must be in 0\.\.2, label 3 at index"),
        (Y, [1, 2, float("inf"), 1], "must be finite, got inf at index 2"),
        (Y, {"fused": WEIGHTS, "sub_1": None}, "`sample_weight` must be one"),
        (Y, 2.0, "`sample_weight` must be one tensor, .* got float"),
    ],
)
def test_bad_arrays(y, weights, message):
    with pytest.raises(InputError, match=message):
        checked_arrays(y, weights, values_of_three, HEADS, "labels")


def test_good_arrays():
    y, weights = checked_arrays([0, 1], [-1, 0.5], values_of_three, HEADS)
    np.testing.assert_array_equal(y, [0, 1])
    np.testing.assert_array_equal(weights, [-1, 0.5])
    y, weights = checked_arrays(
        {"sub_1": Y}, [WEIGHTS, WEIGHTS], values_of_three, HEADS
    )
    assert y is Y and weights is WEIGHTS


def test_descriptions_are_short():
    assert described((1,) * 200) == "(int, int, int, int, int, ...)"
    assert described({"a": [None]}) == "{'a': (None)}"
