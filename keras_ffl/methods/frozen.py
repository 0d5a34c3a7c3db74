"""Networks that predict in training mode without being changed by it."""

import contextlib

from keras import ops


@contextlib.contextmanager
def keep_state(network):
    """Puts a network's state back that its forward passes change.

    In training mode batch normalisation takes the statistics of the batch
    and moves its averages towards them. Within this context it takes the
    statistics of the batch too, but the averages have their old values at the
    end. The weights of a frozen network are its owner's business: they change
    by updates only.

    Args:
        network: `keras.Model`.
    """
    state = network.non_trainable_weights
    # Copies: a conversion would give the variables themselves.
    values = [ops.copy(variable) for variable in state]
    yield
    for variable, value in zip(state, values):
        variable.assign(value)
