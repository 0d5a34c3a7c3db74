"""Checks the values of labels and weights on the host before a step on JAX.

Arrays are checked earlier; data sets are checked only here. On an accelerator
the batches are already on the device and a step would wait for them, so only
the first one is checked there.
"""

import itertools

import jax
import numpy as np

from keras_ffl.backend.jax.feed import DeviceBatch
from keras_ffl.batch_parts import checked_arrays


def said_by(error):
    """Returns None: a bad batch raises `InputError` directly."""
    return None


def after_checks(value, checked):
    """Returns `value`: batches are checked before the step."""
    return value


def on_device(batch):
    """Whether a batch is a `DeviceBatch`, whose labels are already checked."""
    first = next(iter(batch), None) if isinstance(batch, tuple) else None
    return isinstance(first, DeviceBatch)


def check_values(model, batch, training=True):
    """Checks a batch from a data set.

    Args:
        model: `keras_ffl.backend.MethodModel`.
        batch, training: As in `model.unpacked`.

    Raises:
        InputError: The structure, a type or a value is wrong.
    """
    _, *given = model.unpacked(batch, training)
    # With several processes, none of them has the whole batch.
    if all(getattr(each, "is_fully_addressable", True) for each in given):
        given = (each if each is None else np.asarray(each) for each in given)
        checked_arrays(*given, model.check_label_values, model.heads)


def with_values_checked(model, function, groups, training=True):
    """Adds a check before each step to Keras' function that runs them.

    After an error the variables still have their values, which Keras has moved
    out of them, unless a step has already begun to overwrite them.

    Args:
        model: `keras_ffl.backend.MethodModel`.
        function: Function of the state and an iterator of batches.
        groups: Function that returns the groups of variables in the state.
        training: Bool, whether they are steps of training.

    Returns:
        Function of the same arguments.
    """
    checks = jax.default_backend() == "cpu"

    def checked(state, batches):
        try:
            # All of them first: the data may raise an error, too.
            batches = list(itertools.islice(batches, model.steps_per_execution))
            for batch in batches:
                if checks and not on_device(batch):
                    check_values(model, batch, training)
            return function(state, iter(batches))
        except BaseException:
            for group, values in zip(groups(), state, strict=True):
                for variable, value in zip(group, values, strict=True):
                    if not value.is_deleted():
                        variable.assign(value)
            # Else Keras would assign those of an earlier step at any time.
            model._jax_state, model._jax_state_synced = None, True
            raise

    return checked
