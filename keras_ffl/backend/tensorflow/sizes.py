"""Sizes of tensors that TensorFlow doesn't know while it traces a step."""

from keras_ffl.optional import tensorflow as tf


def same_size_in_step(maps, message):
    """Makes the check of maps of unknown heights and widths part of the step.

    Args:
        maps: List of tensors (batch, h, w, C_k), symbolic ones.
        message: What the `tf.errors.InvalidArgumentError` says that the step
            raises where heights or widths differ.

    Returns:
        The maps, a list; what is computed from these comes after the check.
    """
    shapes = [tf.shape(x) for x in maps]
    size = shapes[0][1:3]
    checks = [
        tf.debugging.assert_equal(shape[1:3], size, message)
        for shape in shapes[1:]
    ]
    with tf.control_dependencies(checks):
        # XLA drops the checks; it can't compile this for maps that differ.
        return [
            tf.reshape(x, [shape[0], size[0], size[1], x.shape[-1]])
            for x, shape in zip(maps, shapes)
        ]
