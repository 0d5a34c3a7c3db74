"""The one place where pictures need a gradient of the backend."""

import keras
from keras import ops


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
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda given: ops.sum(function(given)))(tensors)
    import tensorflow as tf

    # No gradient of a variable is wanted, so none is recorded.
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        values = function(tensors)
    return tape.gradient(
        values, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
