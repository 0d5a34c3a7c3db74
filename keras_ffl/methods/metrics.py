"""The metrics of all heads, every head with objects of its own."""

import functools
import inspect
import warnings

import keras
import numpy as np

from keras_ffl.errors import InputError

Metric = keras.metrics.Metric


def metrics_by_head(metrics, heads, argument):
    """Metrics as a dict by head, no object in two places.

    Args:
        metrics: A metric or a list of them, which every head gets, or a dict
            from head to either. A metric is a name, a function of labels and
            logits, a `keras.metrics.Metric`, or what makes one: its class or
            a function without arguments.
        heads: Names of the heads.
        argument: Name of the argument for messages.

    Returns:
        Dict from head to a list of metrics, None for None.

    Raises:
        InputError: A name is no head, an object would have to be copied and
            can't be, or a function is neither of the two.
    """
    if metrics is None:
        return None
    by_name = isinstance(metrics, dict)
    by_head = metrics if by_name else dict.fromkeys(heads, metrics)
    for head in by_head:
        if head not in heads:
            raise InputError(
                f"`{argument}`: heads are {', '.join(heads)}, got {head!r}"
            )
    # An object for all heads is a pattern and stays the user's own.
    taken = set()
    if not by_name and len(heads) > 1:
        taken.update(map(id, _listed(metrics)))
    names = {}

    def own(metric):
        if isinstance(metric, Metric):
            if id(metric) in taken:
                metric = _copied(metric, argument)
            taken.add(id(metric))
        elif makes_metric(metric, argument):
            made = metric()
            if not isinstance(made, Metric) or id(made) in taken:
                raise InputError(
                    f"`{argument}`: {metric!r} takes no arguments and must "
                    f"make a new keras.metrics.Metric each time, got {made!r}"
                )
            taken.add(id(made))
            # Keras counts up the names of those that have none.
            made.name = names.setdefault(id(metric), made.name)
            metric = made
        return metric

    return {
        head: [own(metric) for metric in _listed(each)]
        for head, each in by_head.items()
        if each is not None
    }


def makes_metric(function, argument="metrics"):
    """Whether something is called for a metric and not for its value.

    Args:
        function: A class of metrics, a function, or anything else.
        argument: Name of the argument for messages.

    Returns:
        Bool: true for a class of metrics and for a function that takes no
        arguments, false for one that takes labels and logits and for what
        can't be called.

    Raises:
        InputError: It takes neither or both.
    """
    called = function
    if isinstance(function, functools.partial):
        called = function.func
    of_class = inspect.isclass(called) and issubclass(called, Metric)
    if not callable(function) or inspect.isclass(called) and not of_class:
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Of some functions in C nothing is known. They make no metrics.
        return False
    nothing = _takes(signature)
    value = _takes(signature, "labels", "logits") and not of_class
    if nothing != value:
        return nothing
    raise InputError(
        f"`{argument}`: {function!r} must take labels and logits, or nothing "
        f"and make a keras.metrics.Metric (`lambda: ...`), got {signature}"
    )


def not_rebuilt(by_argument):
    """Which metrics would come back from a file as others.

    Args:
        by_argument: Dict from argument of `compile` to what `metrics_by_head`
            returned.

    Returns:
        Tuple of `(argument, head, place, class name)`, later places first.
    """
    return tuple(
        (argument, head, place, type(metric).__name__)
        for argument, by_head in by_argument.items()
        for head, metrics in (by_head or {}).items()
        for place, metric in reversed(list(enumerate(metrics)))
        if isinstance(metric, Metric) and not _is_rebuilt(metric)
    )


def leave_out(places, config):
    """Takes metrics out of the configuration of `compile`, with a warning.

    Args:
        places: What `not_rebuilt` returned.
        config: Dict, what is saved.
    """
    for argument, head, place, _ in places:
        del config[argument][head][place]
    for name in sorted({name for *_, name in places}):
        warnings.warn(
            f"the metric {name} is not saved with the model, because its class "
            "has no get_config() that holds all of its arguments. Call "
            "compile() with it after loading.",
            stacklevel=2,
        )


def _copied(metric, argument):
    """A metric like another one, as it was when it was made."""
    copy = None
    if _is_rebuilt(metric):
        try:
            copy = type(metric).from_config(metric.get_config())
        except Exception:
            # Such as a function in it that Keras can't find by its name.
            pass
    if copy is None or _settings(copy) != _settings(metric):
        raise InputError(
            f"`{argument}`: {metric!r} can't be copied for every head, because "
            f"{type(metric).__name__}'s configuration doesn't hold all it was "
            "made with. Give a function that makes it, "
            f"`lambda: {type(metric).__name__}(...)`, or a dict from head to "
            "an object of its own"
        )
    return copy


def _is_rebuilt(metric):
    """Whether a configuration holds all that a metric was made with.

    That is so where its class brings a `get_config` of its own with its
    constructor, or inherits one that has every argument of the constructor;
    and where it is so of the metrics within that are rebuilt with it.
    """
    try:
        config = metric.get_config()
    except Exception:
        # Its class says itself that it has none.
        return False
    own = issubclass(
        _definer(metric, "get_config"), _definer(metric, "__init__")
    )
    _, *arguments = inspect.signature(type(metric).__init__).parameters.values()
    known = all(
        each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name in config
        for each in arguments
    )
    inner = [
        each
        for each in keras.tree.flatten(list(vars(metric).values()))
        if isinstance(each, Metric)
        and f"'{type(each).__name__}'" in str(config)
    ]
    return (own or known) and all(map(_is_rebuilt, inner))


def _settings(metric):
    """The plain values and functions among a metric's attributes."""
    settings = {}
    for name, value in vars(metric).items():
        # What is made at the first update is no setting.
        if "build" in name or "built" in name:
            continue
        plain = [_plain(each) for each in keras.tree.flatten(value)]
        settings[name] = [each for each in plain if each is not None]
    return settings


def _plain(value):
    if isinstance(value, Metric):
        # Keras counts up the names of those that have none.
        return {**_settings(value), "name": type(value)}
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return getattr(value, "__code__", None)


def _listed(metrics):
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def _takes(signature, *arguments):
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _definer(metric, method):
    """The class that a metric has a method from."""
    return next(c for c in type(metric).__mro__ if method in vars(c))
