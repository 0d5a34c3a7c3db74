"""Labels of every kind, and the messages for bad ones."""

import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels, is_sparse

GOOD = {
    "integers": np.array([0, 2, 1]),
    "uint8": np.array([0, 2, 1], "uint8"),
    "column": np.array([[0], [2], [1]]),
    "whole floats": np.array([0.0, 2.0, 1.0]),
    "list": [0, 2, 1],
    "one-hot": np.eye(3),
    "one-hot integers": np.eye(3, dtype="int64"),
    "soft": np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], "float32"),
    "none": np.zeros((0,), "int32"),
}

BAD = [
    ([0, 3], r"labels must be in 0\.\.2, label 3 at index 1 is outside"),
    ([-1, 0], r"labels must be in 0\.\.2, label -1 at index 0 is outside"),
    ([[0], [7]], r"labels must be in 0\.\.2, label 7 at index 1 is outside"),
    ([0.5, 1.0], "must hold integer labels, got dtype float64"),
    ([float("nan"), 1.0], "must hold integer labels, got dtype float64"),
    (["a", "b"], "must hold integer labels, got dtype <U1"),
    ([True, False], "must hold integer labels, got dtype bool"),
    (np.eye(4), r"integers \(n,\) or rows \(n, 3\), got shape \(4, 4\)"),
    (np.zeros((2, 2, 3)), r"got shape \(2, 2, 3\)"),
    ([[1, 0, 0], [1, 0]], "an array of labels, got rows of different lengths"),
    (3, r"got shape \(\)"),
    ([[0.5, 0.5, 0.5]], r"non-negative with sum 1, row 0 is \[0\.5, 0\.5"),
    (
        [[0.0, 1.0, 0.0], [1.5, -0.5, 0.0]],
        r"non-negative with sum 1, row 1 is \[1\.5, -0\.5, 0\.0\]",
    ),
    ([[float("nan"), 0.0, 1.0]], "non-negative with sum 1, row 0 is"),
]


@pytest.mark.parametrize("labels", GOOD.values(), ids=GOOD.keys())
def test_good_labels_pass(labels):
    assert check_labels(labels, num_classes=3) is None


@pytest.mark.parametrize(("labels", "message"), BAD)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(InputError, match=f"^`val_y`.*{message}"):
        check_labels(labels, num_classes=3, argument="val_y")


def test_message_names_y_by_default():
    with pytest.raises(InputError, match="^`y`: labels must be in"):
        check_labels([5], num_classes=2)


@pytest.mark.parametrize(
    ("shape", "sparse"),
    [((4,), True), ((4, 1), True), ((4, 3), False)],
)
def test_is_sparse(shape, sparse):
    assert is_sparse(np.zeros(shape), num_classes=3) is sparse
    assert is_sparse(keras.KerasTensor(shape), num_classes=3) is sparse
    unknown_batch = keras.KerasTensor((None, *shape[1:]))
    assert is_sparse(unknown_batch, num_classes=3) is sparse


def test_rows_of_an_unknown_width_are_no_integers():
    # As a generator gives them whose signature leaves the classes open.
    tf = pytest.importorskip("tensorflow")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, None))])
    def traced(labels):
        return tf.constant(is_sparse(labels, num_classes=3))

    assert not bool(traced(tf.eye(3)))
