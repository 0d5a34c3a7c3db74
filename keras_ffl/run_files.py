"""Reads the files of a run's folder, and reports damaged ones."""

import json

from keras_ffl.errors import InputError, first_line

# Required content of `metrics.json`, to which other programs may add.
_METRICS = {
    "heads": dict,
    "epoch": int,
    "parameters": int,
    "multiply_adds": int,
    "versions": dict,
    "seconds_per_epoch": (int, float, type(None)),
}
# And what it may lack.
_BEST = {"head": str, "split": str, "epoch": int, "top1_error": (int, float)}
_ADVICE = "Delete it, and the same command of `train` evaluates the run again"


def read_json(path, advice):
    """Reads a file that holds a JSON object.

    Args:
        path: `pathlib.Path`.
        advice: Str, a sentence on what to do if it is damaged.

    Returns:
        Dict.

    Raises:
        InputError: The file can't be read as JSON; the message names it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} can't be read as JSON: {first_line(error)[:200]}. {advice}"
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path} must hold a JSON object, got {type(value).__name__}. "
            f"{advice}"
        )
    return value


def read_as(cls, path, advice):
    """Makes an object from a file with its fields.

    Args:
        cls: Class with a class method `from_dict`.
        path: `pathlib.Path`.
        advice: As in `read_json`.

    Raises:
        InputError: The file can't be read, or a field is invalid; the message
            names the file.
    """
    values = read_json(path, advice)
    try:
        return cls.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}. {advice}") from error


def read_metrics(path):
    """Reads `metrics.json`.

    Args:
        path: `pathlib.Path`.

    Returns:
        Dict.

    Raises:
        InputError: The file can't be read, or doesn't have a run's results;
            the message names it.
    """
    metrics = read_json(path, _ADVICE)
    for name, kinds in _METRICS.items():
        if name not in metrics or not _is(metrics[name], kinds):
            raise _damaged(path, f"`{name}` is missing or has another type")
    if not metrics["heads"]:
        raise _damaged(path, "`heads` is empty")
    for head, values in metrics["heads"].items():
        numbers = values.values() if isinstance(values, dict) else [None]
        if not all(_is(each, (int, float)) for each in numbers):
            raise _damaged(path, f"`{head}` in `heads` must hold numbers")
    best = metrics.get("best")
    if best is not None and not (
        isinstance(best, dict)
        and all(_is(best.get(name), kinds) for name, kinds in _BEST.items())
    ):
        raise _damaged(path, f"`best` must hold {', '.join(_BEST)}")
    if not _is(metrics.get("steps", 0), int):
        raise _damaged(path, "`steps` must be an int")
    return metrics


def _is(value, kinds):
    """Whether a value has a type, and is no int too large for a float."""
    too_large = isinstance(value, int) and abs(value) > 10**18
    return isinstance(value, kinds) and not too_large


def _damaged(path, what):
    return InputError(f"{path} is damaged: {what}. {_ADVICE}")
