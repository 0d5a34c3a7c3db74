"""The check of values within a graph of TensorFlow."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
from keras_ffl.backend.tensorflow.values import (  # noqa: E402
    said_by,
    values_checked,
)
from keras_ffl.tasks import (  # noqa: E402
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
)


def said(y, weights=None, classes=3, eager=False):
    def check(y, *weights):
        task = Classification()
        return values_checked(
            y, y, *(weights or (None,)), task, (None, classes)
        )

    if not eager:
        check = tf.function(check, autograph=False)
    given = [tf.constant(y)] + ([] if weights is None else [weights])
    try:
        x, y, *_ = check(*given)
    except tf.errors.InvalidArgumentError as error:
        return said_by(error)
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(y, given[0])


@pytest.mark.parametrize("eager", [False, True])
def test_messages(eager):
    integers = "`y`: labels must be integers in 0..2, those of a batch go from"
    rows = "`y`: every row must be non-negative with sum 1, those of a batch"
    assert said([1, 3], eager=eager) == f"{integers} 1 to 3"
    assert said([[-1], [2]], eager=eager) == f"{integers} -1 to 2"
    assert said([0.5, 2.0], eager=eager) == f"{integers} 0.5 to 2"
    assert said([float("nan"), 2.0], eager=eager).startswith(integers)
    assert (
        said([[1, 1, 0], [1, 1, 1]], eager=eager)
        == f"{rows} have sums from 2 to 3 and values from 0"
    )
    assert (
        said([[1.5, -0.5, 0.0]], eager=eager)
        == f"{rows} have sums from 1 to 1 and values from -0.5"
    )
    assert said([[float("nan"), 1.0, 0.0]], eager=eager).startswith(rows)
    for weight in (float("nan"), float("inf")):
        assert (
            said([0, 1], tf.constant([1.0, weight]), eager=eager)
            == "`sample_weight` must be finite, those of a batch are not"
        )


@pytest.mark.parametrize(
    ("task", "y", "shape", "message"),
    [
        (
            MultiLabel(),
            [[0.0, 3.0]],
            (None, 2),
            "labels must be in 0..1, those of a batch go from 0 to 3",
        ),
        (
            Regression(),
            [[0.0, float("nan")]],
            (None, 2),
            "labels must be finite, those of a batch are not",
        ),
        (
            Segmentation(ignore_class=9),
            [[[9, 7]]],
            (None, 1, 2, 3),
            "labels must be integers in 0..2 or 9, those of a batch go from 7 "
            "to 9",
        ),
    ],
)
def test_labels_of_other_tasks(task, y, shape, message):
    bad = tf.constant(y)
    # As a data set of batches whose sizes it doesn't know.
    unknown = tf.TensorSpec([None] * len(bad.shape), bad.dtype)

    @tf.function(input_signature=[unknown], autograph=False)
    def check(y):
        found = values_checked(y, y, None, task, shape)[1]
        assert tuple(found.shape) == task.label_shape(shape)
        return found

    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        check(bad)
    assert said_by(raised.value) == f"`y`: {message}"
    good = tf.zeros_like(bad)
    np.testing.assert_array_equal(check(good), good)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
@pytest.mark.parametrize("classes", [2, 300])
def test_good_labels_of_every_type(dtype, classes):
    assert said(np.array([0, 1], dtype), classes=classes) is None
    assert said(np.eye(classes, dtype=dtype), classes=classes) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_soft_labels_of_half_precision(dtype):
    rows = np.full((2, 1000), 0.1 / 1000) + 0.9 * np.eye(1000)[[0, 5]]
    assert said(tf.cast(rows, dtype), classes=1000) is None


@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 3)])
def test_a_replica_without_samples(shape):
    for dtype in ("int32", "float32"):
        y = np.zeros(shape, dtype)
        assert said(y, tf.zeros((0,))) is None


def test_weights_that_are_no_floats():
    for weights in ([True, False], [0, -3], [-1.5, 0.0]):
        assert said([0, 1], tf.constant(weights)) is None


def test_other_errors():
    for error in (
        tf.errors.InvalidArgumentError(None, None, "assertion failed: [x]"),
        ValueError("keras_ffl: "),
    ):
        assert said_by(error) is None
