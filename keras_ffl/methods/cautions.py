"""Warnings about sub-networks that probably won't train as intended."""

import collections
import contextlib
import contextvars
import inspect
import itertools
import warnings

import numpy as np
from keras import ops

from keras_ffl.models.frozen import FrozenClassifier
from keras_ffl.models.graph import calls, layers_within

_QUIET = contextvars.ContextVar("quiet", default=False)

# Random image layers of Keras and keras-cv, which draw in training. All others
# are named Random..., and users' layers usually are too.
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
    """Context in which methods are created without warnings, as in loading."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def warn_of_equal_weights(networks):
    """Warns about networks with the same weights.

    Only kernels are compared, since biases and statistics start equal in all
    networks. Shared weights are not compared.

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
            f"`subnetworks`: {', '.join(alike)} hold the same weights; equal "
            "networks have nothing to learn from each other and may stay "
            "equal. Initialise each separately, or train each alone from its "
            "own seed",
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
    # Variables have no values while a step is traced.
    except (NotImplementedError, TypeError):
        return False


def _value(variable):
    # A copy, since NumPy warns about the variable itself.
    return ops.convert_to_numpy(ops.copy(variable))


def warn_of_separate_draws(networks):
    """Warns about random image layers that draw for a single network.

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
        f"random layers inside networks ({', '.join(names)}) draw separately "
        "for each network, so that the networks don't see the same image. "
        "Remove them and pass them once, as `preprocessing`, or augment the "
        "batches",
        UserWarning,
        stacklevel=_level_of_the_user(),
    )


def _draws(network):
    """The names of random layers in calls, by the id of a call's output."""
    found = {}
    for call in calls(network):
        # In inference mode there are no draws.
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
    """The `stacklevel` of this package's caller, for the calling function."""
    frame, level = inspect.currentframe().f_back, 1
    while frame.f_back and frame.f_globals["__name__"].startswith("keras_ffl."):
        frame, level = frame.f_back, level + 1
    return level
