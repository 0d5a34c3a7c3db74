"""Gradients of functions."""

import jax
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
    return jax.grad(lambda given: ops.sum(function(given)))(tensors)
