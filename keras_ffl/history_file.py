"""`history.csv`, the table of a run's epochs."""

import csv
import io
import math
import uuid

from absl import logging

from keras_ffl.errors import InputError, first_line
from keras_ffl.fields import shown
from keras_ffl.whole_files import replacing


def read_history(path):
    """Reads the rows of `history.csv`.

    Omits a last row that was incomplete when the run died.

    Args:
        path: `pathlib.Path`.

    Returns:
        List of dicts from column to float; empty if there is no file yet.

    Raises:
        InputError: The file is not such a table; the message names the row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, rows = reader.fieldnames or [], list(reader)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, f"can't be read: {first_line(error)}") from error
    if not columns:
        return []  # No epoch has been finished yet.
    if "epoch" not in columns:
        raise _damaged(path, "has no column `epoch`")
    if not text.endswith("\n"):
        del rows[-1:]
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append({key: _number(text) for key, text in row.items()})
        except (TypeError, ValueError):
            values = ", ".join(map(str, row.values()))
            raise _damaged(
                path,
                f"line {number} must be {len(columns)} numbers, got "
                f"{shown(values)}",
            ) from None
        epoch = found[-1]["epoch"]
        if epoch < 0 or not epoch.is_integer():
            raise _damaged(
                path,
                f"line {number} must have a whole number as `epoch`, got "
                f"{epoch}",
            )
    return found


def _number(text):
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError
    return number


def _damaged(path, what):
    return InputError(
        f"{path}: {what}. Delete it, or resume the run, which keeps it aside"
    )


def add_to_history(path, row):
    """Writes a row below the others.

    A table that is damaged, or has other columns, is kept aside.

    Args:
        path: `pathlib.Path`.
        row: Dict from column, `epoch` among them, to number.
    """
    try:
        rows, reason = read_history(path), None
    except InputError as error:
        rows, reason = [], str(error)
    if rows and set(rows[0]) != set(row):
        rows, reason = [], f"{path} has other columns than this run"
    if reason:
        logging.warning("%s%s", reason, _keep_aside(path))
    columns = list((rows or [row])[0])
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        if not rows:
            file.truncate(0)
            writer.writeheader()
        writer.writerow(row)


def cut_history(path, epochs, known):
    """Deletes the rows of epochs that will be run again.

    A table that is damaged, or has rows of epochs whose checkpoint is lost,
    is kept aside.

    Args:
        path: `pathlib.Path`.
        epochs: Int, number of finished epochs.
        known: Int, number of epochs that had been finished once.
    """
    try:
        found, reason = read_history(path), None
    except InputError as error:
        found, reason = [], str(error)
    rows = [row for row in found if row["epoch"] < epochs]
    numbers = [int(row["epoch"]) for row in rows]
    lacking = len(set(range(epochs)) - set(numbers))
    if reason is None and lacking:
        reason = f"{path} is damaged: it lacks {lacking} of {epochs} epochs"
    elif reason is None and numbers != list(range(epochs)):
        reason = f"{path} is damaged: it has an epoch twice, or out of order"
    elif reason is None and known > epochs and len(found) > epochs:
        reason = f"{path} has epochs whose checkpoint is gone"
    if reason:
        logging.warning("%s%s", reason, _keep_aside(path))
    if not rows:
        path.unlink(missing_ok=True)
        return
    rows = {int(row["epoch"]): row for row in rows}
    with (
        replacing(path) as unfinished,
        unfinished.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(found[0]))
        writer.writeheader()
        writer.writerows({**rows[k], "epoch": k} for k in sorted(rows))


def _keep_aside(path):
    """Renames a file; returns the end of a message that says so."""
    if not path.exists():
        return ""
    aside = path.with_name(f"{path.stem}_{uuid.uuid4().hex[:8]}{path.suffix}")
    path.rename(aside)
    return f"; it is kept as {aside.name}"
