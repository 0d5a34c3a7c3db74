"""Gradients of functions on a tape."""

from keras_ffl.optional import tensorflow as tf


def gradients_of(function, tensors):
    """Gradients of the sum of a function's values.

    Args:
        function: Function from a list of float tensors to one float tensor.
            It updates no variable.
        tensors: List of float tensors, where the gradients are taken.

    Returns:
        List of tensors of the shapes of `tensors`; zeros where the values
        don't depend on one.
    """
    # No gradient of a variable is wanted, so none is recorded.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        values = function(tensors)
    return tape.gradient(
        values, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
