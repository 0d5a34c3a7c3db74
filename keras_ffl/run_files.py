"""Reads the files of a run's folder, and reports damaged ones."""

import csv
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


def read_json(path):
    """Reads a file that holds a JSON object.

    Args:
        path: `pathlib.Path`.

    Returns:
        Dict.

    Raises:
        InputError: The file can't be read as JSON; the message names it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} can't be read as JSON: {first_line(error)[:200]}"
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path} must hold a JSON object, got {type(value).__name__}"
        )
    return value


def read_as(cls, path):
    """Makes an object from a file with its fields.

    Args:
        cls: Class with a class method `from_dict`.
        path: `pathlib.Path`.

    Raises:
        InputError: The file can't be read, or a field is invalid; the message
            names the file.
    """
    values = read_json(path)
    try:
        return cls.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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
    metrics = read_json(path)
    for name, kinds in _METRICS.items():
        if name not in metrics or not isinstance(metrics[name], kinds):
            raise _damaged(path, f"`{name}` is missing or has another type")
    for head, values in metrics["heads"].items():
        numbers = values.values() if isinstance(values, dict) else [None]
        if not all(isinstance(each, (int, float)) for each in numbers):
            raise _damaged(path, f"`{head}` in `heads` must hold numbers")
    return metrics


def _damaged(path, what):
    return InputError(
        f"{path} is damaged: {what}. Delete it, and the same command of "
        "train.py evaluates the run again"
    )


def read_history(path):
    """Reads the rows of `history.csv`.

    Omits a last row that was incomplete when the run died.

    Args:
        path: `pathlib.Path`.

    Returns:
        List of dicts from column to float.

    Raises:
        InputError: The file is not such a table; the message names the row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    if not columns:
        return []  # No epoch has been finished yet.
    if "epoch" not in columns:
        raise InputError(f"{path} has no column `epoch`")
    if rows and (None in rows[-1] or not all(rows[-1].values())):
        del rows[-1]
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append({key: float(value) for key, value in row.items()})
        except (TypeError, ValueError):
            raise InputError(
                f"{path}, line {number} must be {len(columns)} "
                f"numbers, got {', '.join(map(str, row.values()))}"
            ) from None
    return found
