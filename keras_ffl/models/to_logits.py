"""Copies classifiers so that they end in logits."""

import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.models.copying import copy_model
from keras_ffl.models.endings import (
    PROBABILITIES,
    SIGMOID,
    Ending,
    find_ending,
)
from keras_ffl.models.random_images import random_outputs
from keras_ffl.precision import at_least_float32
from keras_ffl.tasks import checked_task


def copy_to_logits(source, from_logits, argument="model", task=None):
    """Copies a model and turns its last output into logits.

    Args:
        source: Functional `keras.Model` of one input and a list of outputs,
            the last of which is a classifier's.
        from_logits: As in `as_subnetwork`.
        argument: Name of the argument that held the model.
        task: `keras_ffl.tasks.Task` of the outputs, None for
            `Classification()`. Without an activation they are kept.

    Returns:
        Tuple of the copy's image and the list of its outputs.

    Raises:
        InputError: `from_logits` is missing or contradicts the model's
            outputs, or a layer can't be copied.
    """
    option = f"{argument}_from_logits".removeprefix("model_")
    if not (from_logits is None or isinstance(from_logits, bool)):
        raise InputError(
            f"`{option}` must be True, False or None, got {from_logits!r}"
        )
    outputs = random_outputs(source)
    activation = checked_task(task).activation
    if activation != "softmax":
        _check_no_activation(source, argument, option, from_logits, activation)
        copy = copy_model(source, None, argument, outputs)
        return copy.inputs[0], copy.outputs
    shown = None if outputs is None else _are_probabilities(outputs[-1])
    ending = find_ending(source)
    if ending.kind == SIGMOID or (
        ending.kind == PROBABILITIES and shown is False
    ):
        # No softmax, a multiple of probabilities, or separate parts of them.
        ending = Ending(None, ending.what)
    _check_ending(source.name, argument, option, ending, from_logits, shown)
    probabilities = ending.kind == PROBABILITIES or from_logits is False
    copy = copy_model(source, ending.softmax, argument, outputs)
    *others, logits = copy.outputs
    if probabilities and ending.softmax is None:
        logits = _logarithm(logits)
    return copy.inputs[0], [*others, logits]


def _check_no_activation(source, argument, option, from_logits, activation):
    """Raises `InputError` unless a model can end as it does."""
    if from_logits is False:
        raise InputError(
            f"`{option}` must be True or None for a task without softmax, got "
            "False"
        )
    ending = find_ending(source)
    if activation and ending.kind in (PROBABILITIES, SIGMOID):
        raise InputError(
            f"`{argument}` must end in logits for a task with {activation}: "
            f"at the end of '{source.name}' {ending.what}"
        )


def _are_probabilities(rows):
    """Whether rows are non-negative and sum to 1, even in half precision."""
    return bool((rows >= 0).all() and (abs(rows.sum(axis=-1) - 1) < 1e-2).all())


def _check_ending(name, argument, option, ending, from_logits, shown):
    """Raises `InputError` if a classifier's end contradicts `from_logits`.

    `shown` says whether random images gave probabilities, None if there was no
    output.
    """
    end = f"at the end of '{name}' {ending.what}"
    if from_logits is None and ending.kind is None:
        raise InputError(
            f"`{argument}` must end in logits or in a softmax layer: {end}; "
            f"`{option}` must be True for logits or False for probabilities, "
            "whose logarithm is then taken"
        )
    if ending.kind == PROBABILITIES:
        if from_logits:
            raise InputError(f"`{option}` must not be True: {end}")
        if from_logits is None and ending.softmax is None:
            raise InputError(
                f"`{option}` must be False for '{name}', to take the "
                "logarithm of its probabilities: they don't come from a "
                f"softmax that could be removed, {end}"
            )
    elif shown is not None and shown != (from_logits is False):
        raise InputError(
            f"`{option}` must {'' if shown else 'not '}be False: '{name}' "
            f"gives {'probabilities' if shown else 'no probabilities'} for "
            f"random images, {end}"
        )


def _logarithm(probabilities):
    """Logits whose softmax is these probabilities."""
    dtype = at_least_float32(probabilities.dtype)
    # Clipped to the smallest number, since the logarithm of 0 is infinite.
    least = float(np.finfo(dtype).tiny)
    return ops.log(ops.maximum(ops.cast(probabilities, dtype), least))
