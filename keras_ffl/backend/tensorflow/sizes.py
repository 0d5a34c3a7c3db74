"""Sizes of tensors that TensorFlow doesn't know while it traces a step."""

from keras_ffl.optional import tensorflow as tf


def same_size_in_step(maps, message):
    """Adds a check that maps of unknown sizes agree to the step.

    Args:
        maps: List of symbolic tensors (batch, h, w, C_k) or (batch, tokens,
            C_k).
        message: Message of the `tf.errors.InvalidArgumentError` that the step
            raises if these sizes differ.

    Returns:
        List of the maps; anything computed from these runs after the check.
    """
    shapes = [tf.shape(x) for x in maps]
    size = shapes[0][1:-1]
    checks = [
        tf.debugging.assert_equal(shape[1:-1], size, message)
        for shape in shapes[1:]
    ]
    with tf.control_dependencies(checks):
        # XLA drops the checks, but can't compile this for maps that differ.
        return [
            tf.reshape(x, [shape[0], *_known(x, size), x.shape[-1]])
            for x, shape in zip(maps, shapes)
        ]


def _known(x, size):
    """`size`, as numbers where the map knows it."""
    return [
        size[axis] if known is None else known
        for axis, known in enumerate(x.shape[1:-1])
    ]
