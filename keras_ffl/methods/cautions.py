"""Warnings of sub-networks that train, but hardly as they were meant to."""

import collections
import contextlib
import contextvars
import inspect
import itertools
import warnings

import numpy as np
from keras import ops

from keras_ffl.models.graph import calls, layers_within
from keras_ffl.models.subnetwork import FrozenClassifier

_QUIET = contextvars.ContextVar("quiet", default=False)

# Random image layers of Keras and keras-cv, which draw in training. All
# others of theirs are named Random..., as those of users are by custom.
_RANDOM = (
    "AugMix",
    "ChannelShuffle",
    "FourierMix",
    "GridMask",
    "JitteredResize",
    "RandAugment",
    "Solarization",
)


@contextlib.contextmanager
def no_cautions():
    """Methods made within it warn of nothing, as while one is loaded."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def warn_of_equal_weights(networks):
    """Warns of networks that hold the same weights.

    Kernels are compared, since biases and statistics start alike in all
    networks. Weights that networks share are not.

    Args:
        networks: List of functional models.
    """
    if _QUIET.get():
        return
    uses = collections.Counter(id(w) for net in networks for w in net.weights)
    kernels = [
        [w for w in net.weights if uses[id(w)] == 1 and len(w.shape) > 1]
        for net in networks
    ]
    alike = [
        f"{first} and {second}"
        for (first, ours), (second, theirs) in itertools.combinations(
            enumerate(kernels, start=1), 2
        )
        if ours and _are_equal(ours, theirs)
    ]
    if alike:
        warnings.warn(
            f"`subnetworks`: {', '.join(alike)} hold the same weights; "
            "networks that start as one have nothing to learn from each other "
            "and may stay one. Initialise each anew, or train each by itself "
            "from a seed of its own",
            UserWarning,
            stacklevel=_level_of_the_user(),
        )


def _are_equal(ours, theirs):
    if [w.shape for w in ours] != [w.shape for w in theirs]:
        return False
    try:
        return all(
            np.array_equal(*map(_value, pair)) for pair in zip(ours, theirs)
        )
    # While a step is traced its variables have no values.
    except (NotImplementedError, TypeError):
        return False


def _value(variable):
    # A copy, since NumPy warns of the variable itself.
    return ops.convert_to_numpy(ops.copy(variable))


def warn_of_separate_draws(networks):
    """Warns of random image layers that draw for one network alone.

    Args:
        networks: List of functional models on one image tensor.
    """
    if _QUIET.get():
        return
    draws = [_draws(network) for network in networks]
    if len({frozenset(each) for each in draws}) == 1:
        return
    names = dict.fromkeys(
        name for each in draws for found in each.values() for name in found
    )
    warnings.warn(
        f"random layers inside of networks ({', '.join(names)}) draw for each "
        "network by itself, so that the networks don't see the same image. "
        "Take them out and give them once, as `preprocessing`, or augment the "
        "batches",
        UserWarning,
        stacklevel=_level_of_the_user(),
    )


def _draws(network):
    """Names of the random layers in a call, by the id of what it gives."""
    found = {}
    for call in calls(network):
        # In inference mode nothing is drawn.
        if isinstance(call.layer, FrozenClassifier):
            continue
        layers = (call.layer, *layers_within(call.layer))
        names = [layer.name for layer in layers if _is_random(layer)]
        if names:
            found[id(call.outputs[0])] = names
    return found


def _is_random(layer):
    names = [kind.__name__ for kind in type(layer).__mro__]
    return any(n.startswith("Random") or n in _RANDOM for n in names)


def _level_of_the_user():
    """The `stacklevel` of who calls this package, for the calling function."""
    frame, level = inspect.currentframe().f_back, 1
    while frame.f_back and frame.f_globals["__name__"].startswith("keras_ffl."):
        frame, level = frame.f_back, level + 1
    return level
