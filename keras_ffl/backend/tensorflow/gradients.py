"""Gradients of functions on a tape."""

from keras_ffl.optional import tensorflow as tf


def gradients_of(function, tensors):
    """Gradients of the sum of a function's values.

    Args:
        function: Function from a list of float tensors to one float tensor.
            It must not update variables.
        tensors: List of float tensors, the point of the gradients.

    Returns:
        List of tensors of the shapes of `tensors`; zeros for those that the
        values don't depend on.
    """
    # Gradients of variables aren't needed, so they aren't recorded.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        values = function(tensors)
    return tape.gradient(
        values, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
