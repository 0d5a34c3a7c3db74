"""Copies classifiers so that they end in logits."""

import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.models.copying import copy_model
from keras_ffl.models.endings import PROBABILITIES, Ending, find_ending
from keras_ffl.models.random_images import random_outputs
from keras_ffl.precision import at_least_float32


def copy_to_logits(source, from_logits, argument="model", features=None):
    """Copies a classifier and turns its output into logits.

    Args:
        source: Functional `keras.Model` of one input and one output.
        from_logits: As in `as_subnetwork`.
        argument: Name of the argument that held the model.
        features: `Features` of `source` that the copy gives too, or None.

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
    shown = None if outputs is None else _are_probabilities(outputs[-1])
    ending = find_ending(source)
    if ending.kind == PROBABILITIES and shown is False:
        # For example a multiple of probabilities, or separate parts of them.
        ending = Ending(None, ending.what)
    _check_ending(source.name, argument, option, ending, from_logits, shown)
    probabilities = ending.kind == PROBABILITIES or from_logits is False
    copy = copy_model(source, ending.softmax, argument, outputs, features)
    *others, logits = copy.outputs
    if probabilities and ending.softmax is None:
        logits = _logarithm(logits)
    return copy.inputs[0], [*others, logits]


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
