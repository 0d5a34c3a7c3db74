"""Copies classifiers so that they end in logits."""

import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.models.copying import copy_model
from keras_ffl.models.endings import Ending, find_ending
from keras_ffl.models.random_images import random_outputs
from keras_ffl.precision import at_least_float32
from keras_ffl.tasks import checked_task


def copy_to_logits(
    source, from_logits, argument="model", features=None, task=None
):
    """Copies a network and turns its output into logits.

    Args:
        source: Functional `keras.Model` of one input and one output.
        from_logits: As in `as_subnetwork`.
        argument: Name of the argument that held the model.
        features: `Features` of `source` that the copy gives too, or None.
        task: `keras_ffl.tasks.Task` of the outputs, None for
            `Classification()`. Without an activation they are kept.

    Returns:
        Tuple of the copy's image and the list of its outputs, the features if
        there are any and the logits.

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
    if activation is None:
        if from_logits is not None:
            raise InputError(
                f"`{option}` must be None for a task without logits, got "
                f"{from_logits!r}"
            )
        copy = copy_model(source, None, argument, outputs, features)
        return copy.inputs[0], copy.outputs
    shown = None
    if outputs is not None:
        shown = _are_probabilities(outputs[-1], activation)
    ending = find_ending(source)
    probabilities = ending.activation == activation
    if ending.activation and (not probabilities or shown is False):
        # The other activation, or for example a multiple of probabilities.
        ending, probabilities = Ending(None, ending.what), False
    _check_ending(
        source.name, argument, option, ending, activation, from_logits, shown
    )
    copy = copy_model(source, ending, argument, outputs, features)
    *others, logits = copy.outputs
    if (probabilities or from_logits is False) and ending.layer is None:
        logits = _inverse(logits, activation)
    return copy.inputs[0], [*others, logits]


def _are_probabilities(rows, activation):
    """Whether rows can be what an activation gives, even in half precision."""
    if activation == "sigmoid":
        return bool(((rows >= 0) & (rows <= 1)).all())
    return bool((rows >= 0).all() and (abs(rows.sum(axis=-1) - 1) < 1e-2).all())


def _check_ending(
    name, argument, option, ending, activation, from_logits, shown
):
    """Raises `InputError` if a network's end contradicts `from_logits`.

    `shown` says whether random images gave probabilities, None if there was no
    output.
    """
    end = f"at the end of '{name}' {ending.what}"
    inverse = "logarithm" if activation == "softmax" else "logit"
    if from_logits is None and ending.kind is None:
        raise InputError(
            f"`{argument}` must end in logits or in a {activation} layer: "
            f"{end}; `{option}` must be True for logits or False for "
            f"probabilities, whose {inverse} is then taken"
        )
    if ending.activation:
        if from_logits:
            raise InputError(f"`{option}` must not be True: {end}")
        if from_logits is None and ending.layer is None:
            raise InputError(
                f"`{option}` must be False for '{name}', to take the "
                f"{inverse} of its probabilities: they don't come from a "
                f"{activation} that could be removed, {end}"
            )
    # Values in 0..1 don't show that a sigmoid gave them.
    elif not (shown is None or (shown and activation == "sigmoid")) and (
        shown != (from_logits is False)
    ):
        raise InputError(
            f"`{option}` must {'' if shown else 'not '}be False: '{name}' "
            f"gives {'probabilities' if shown else 'no probabilities'} for "
            f"random images, {end}"
        )


def _inverse(probabilities, activation):
    """Logits of which an activation makes these probabilities."""
    dtype = at_least_float32(probabilities.dtype)
    # Clipped to the smallest number, since the logarithm of 0 is infinite.
    least = float(np.finfo(dtype).tiny)
    probabilities = ops.cast(probabilities, dtype)
    logits = ops.log(ops.maximum(probabilities, least))
    if activation == "sigmoid":
        logits = logits - ops.log(ops.maximum(1 - probabilities, least))
    return logits
