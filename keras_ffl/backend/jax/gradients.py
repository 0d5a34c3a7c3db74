"""Gradients of functions."""

import jax
from keras import ops


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
    return jax.grad(lambda given: ops.sum(function(given)))(tensors)
