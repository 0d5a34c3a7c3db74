"""Checks the values of labels and weights within a step on TensorFlow.

Arrays are checked earlier; data sets are checked only here. XLA drops such
checks, and on an accelerator a step would wait for them, so only the graphs of
steps on CPUs contain them.
"""

import re

from keras_ffl.optional import tensorflow as tf

# Identifies errors raised by these checks.
_MARK = "keras_ffl: "


def values_checked(x, y, sample_weight, task, shape):
    """A batch that can be used only after its values have been checked.

    The images wait as well, so that a bad batch doesn't reach a forward pass
    and move averages.

    Args:
        x: Tensor of images, or a structure of them.
        y: Tensor of labels.
        sample_weight: Tensor of weights, or None.
        task: `keras_ffl.tasks.Task`, which says what labels are valid.
        shape: Shape of a head's output.

    Returns:
        Tuple of images, labels and weights.
    """
    y = tf.convert_to_tensor(y)
    checks = [
        _check(good, f"`y`: {message}", *data)
        for good, message, *data in task.value_checks(y, shape)
    ]
    if sample_weight is not None:
        sample_weight = tf.convert_to_tensor(sample_weight)
        checks += _check_weights(sample_weight)
    # In eager mode a check has already run and returns nothing to wait for.
    with tf.control_dependencies([each for each in checks if each is not None]):
        x, y = tf.nest.map_structure(tf.identity, (x, y))
        if sample_weight is not None:
            sample_weight = tf.identity(sample_weight)
    expected = task.label_shape(shape)
    if len(y.shape) == len(expected) and None in y.shape[1:]:
        y = tf.ensure_shape(y, expected)
    return x, y, sample_weight


def after_checks(value, checked):
    """A tensor that can be used only when a checked batch can.

    Args:
        value: Tensor that doesn't depend on the batch.
        checked: Tensor of the batch, from `values_checked`.

    Returns:
        Tensor like `value`.
    """
    with tf.control_dependencies([tf.convert_to_tensor(checked)]):
        return tf.identity(value)


def said_by(error):
    """The message of a failed check, None for any other error."""
    found = re.search(rf"assertion failed: \[{_MARK}(.*)", str(error))
    if found is None:
        return None
    # In eager mode the operation's name follows.
    said, *_ = found.group(1).split(" [Op:")
    return re.sub(r"[\[\]]", "", said).strip()


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
