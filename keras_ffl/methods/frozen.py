"""Runs networks in training mode without changing them."""

import contextlib

from keras import ops


@contextlib.contextmanager
def keep_state(network):
    """Context that restores the state that a network's forward passes change.

    In training mode batch normalisation uses the statistics of the batch and
    moves its averages towards them. In this context it uses them too, but the
    averages are restored at the end. Trainable weights aren't affected: only
    updates change them.

    Args:
        network: `keras.Model`.
    """
    state = network.non_trainable_weights
    # Copies: a conversion would return the variables themselves.
    values = [ops.copy(variable) for variable in state]
    yield
    for variable, value in zip(state, values):
        variable.assign(value)
