"""Checks the values of labels and weights within a step on TensorFlow.

Arrays are checked earlier; data sets are checked only here. XLA drops such
checks, and on an accelerator a step would wait for them, so only the graphs of
steps on CPUs contain them.
"""

import re

from keras_ffl.labels import is_sparse, tolerance
from keras_ffl.optional import tensorflow as tf

# Identifies errors raised by these checks.
_MARK = "keras_ffl: "


def values_checked(x, y, sample_weight, num_classes):
    """A batch that can be used only after its values have been checked.

    The images wait as well, so that a bad batch doesn't reach a forward pass
    and move averages.

    Args:
        x: Tensor of images, or a structure of them.
        y: Tensor of labels.
        sample_weight: Tensor of weights, or None.
        num_classes: Int, number of classes.

    Returns:
        Tuple of images, labels and weights.
    """
    y = tf.convert_to_tensor(y)
    check = _check_integers if is_sparse(y, num_classes) else _check_rows
    checks = check(y, num_classes)
    if sample_weight is not None:
        sample_weight = tf.convert_to_tensor(sample_weight)
        checks += _check_weights(sample_weight)
    # In eager mode a check has already run and returns nothing to wait for.
    with tf.control_dependencies([each for each in checks if each is not None]):
        x, y = tf.nest.map_structure(tf.identity, (x, y))
        if sample_weight is not None:
            sample_weight = tf.identity(sample_weight)
    if len(y.shape) == 2 and y.shape[1] is None:
        y = tf.ensure_shape(y, (None, num_classes))
    return x, y, sample_weight


def said_by(error):
    """The message of a failed check, None for any other error."""
    found = re.search(rf"assertion failed: \[{_MARK}(.*)", str(error))
    if found is None:
        return None
    # In eager mode the operation's name follows.
    said, *_ = found.group(1).split(" [Op:")
    return re.sub(r"[\[\]]", "", said).strip()


def _check_integers(y, num_classes):
    # For a replica without samples these are the dtype's largest and smallest.
    low, high = tf.reduce_min(y), tf.reduce_max(y)
    good = (tf.cast(low, "float64") >= 0) & (
        tf.cast(high, "float64") < num_classes
    )
    if y.dtype.is_floating:
        good &= tf.reduce_all(tf.floor(y) == y)
    expected = f"`y`: labels must be integers in 0..{num_classes - 1}"
    return [
        _check(good, f"{expected}, those of a batch go from", low, "to", high)
    ]


def _check_rows(y, num_classes):
    checks = []
    if y.shape[1] is None:
        width = tf.shape(y)[1]
        expected = f"`y` must be integers (n,) or rows (n, {num_classes})"
        checks.append(
            _check(
                width == num_classes,
                f"{expected}, the rows of a batch have the width",
                width,
            )
        )
    sums, low = tf.reduce_sum(tf.cast(y, "float32"), axis=1), tf.reduce_min(y)
    good = tf.reduce_all(tf.abs(sums - 1) < tolerance(y.dtype)) & (low >= 0)
    expected = "`y`: every row must be non-negative with sum 1"
    checks.append(
        _check(
            good,
            f"{expected}, those of a batch have sums from",
            tf.reduce_min(sums),
            "to",
            tf.reduce_max(sums),
            "and values from",
            low,
        )
    )
    return checks


def _check_weights(sample_weight):
    if not sample_weight.dtype.is_floating:
        return []
    finite = tf.reduce_all(tf.math.is_finite(sample_weight))
    return [
        _check(
            finite, "`sample_weight` must be finite, those of a batch are not"
        )
    ]


def _check(good, message, *data):
    # Not `tf.debugging.Assert`, which creates a condition with a graph for each
    # outcome.
    return tf.raw_ops.Assert(
        condition=good, data=[_MARK + message, *data], summarize=1
    )
