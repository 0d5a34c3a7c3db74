"""The metrics of all heads, with separate objects for every head."""

import functools
import inspect
import warnings

import keras
import numpy as np

from keras_ffl.errors import InputError

Metric = keras.metrics.Metric


def metrics_by_head(metrics, heads, argument):
    """Arranges metrics by head, without using an object twice.

    Args:
        metrics: A metric or a list of metrics for every head, or a dict from
            head to either. A metric is a name, a function of labels and
            logits, a `keras.metrics.Metric`, its class, or a function without
            arguments that makes one.
        heads: Names of the heads.
        argument: Name of the argument for messages.

    Returns:
        Dict from head to a list of metrics; None if `metrics` is None.

    Raises:
        InputError: There is no such head, an object needs to be copied but
            can't be, or a function has neither of these forms.
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
    # An object for all heads is only a template and is not used itself.
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
            # Keras numbers the names of unnamed metrics.
            made.name = names.setdefault(id(metric), made.name)
            metric = made
        return metric

    return {
        head: [own(metric) for metric in _listed(each)]
        for head, each in by_head.items()
        if each is not None
    }


def makes_metric(function, argument="metrics"):
    """Whether a callable makes a metric instead of computing its value.

    Args:
        function: A class of metrics, a function, or anything else.
        argument: Name of the argument for messages.

    Returns:
        Bool: True for a metric class and for a function without arguments,
        False for a function of labels and logits and for anything that can't
        be called.

    Raises:
        InputError: The function takes neither or both.
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
        # The signature of some C functions is unknown. They make no metrics.
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
    """Finds the metrics that a file would not restore faithfully.

    Args:
        by_argument: Dict from argument of `compile` to the result of
            `metrics_by_head`.

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
    """Removes metrics from the configuration of `compile`, with a warning.

    Args:
        places: Result of `not_rebuilt`.
        config: Dict, the configuration to save.
    """
    for argument, head, place, _ in places:
        del config[argument][head][place]
    for name in sorted({name for *_, name in places}):
        warnings.warn(
            f"the metric {name} is not saved with the model, because its class "
            "has no get_config() that includes all of its arguments. Call "
            "compile() with it after loading.",
            stacklevel=2,
        )


def _copied(metric, argument):
    """Copies a metric in its initial state."""
    copy = None
    if _is_rebuilt(metric):
        try:
            copy = type(metric).from_config(metric.get_config())
        except Exception:
            # For example, Keras can't find a function in it by name.
            pass
    if copy is None or _settings(copy) != _settings(metric):
        raise InputError(
            f"`{argument}`: {metric!r} can't be copied for every head, because "
            f"{type(metric).__name__}'s configuration doesn't include all its "
            "arguments. Pass a function that makes it, "
            f"`lambda: {type(metric).__name__}(...)`, or a dict from head to "
            "its own object"
        )
    return copy


def _is_rebuilt(metric):
    """Whether a configuration includes all arguments of a metric.

    This is so if its class defines `get_config` along with its constructor, or
    inherits one that includes every argument of the constructor, and if the
    same holds for inner metrics that are rebuilt with it.
    """
    try:
        config = metric.get_config()
    except Exception:
        # The class itself says that it has none.
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
        # Objects created at the first update aren't settings.
        if "build" in name or "built" in name:
            continue
        plain = [_plain(each) for each in keras.tree.flatten(value)]
        settings[name] = [each for each in plain if each is not None]
    return settings


def _plain(value):
    if isinstance(value, Metric):
        # Keras numbers the names of unnamed metrics.
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
    """The class that defines a metric's method."""
    return next(c for c in type(metric).__mro__ if method in vars(c))
