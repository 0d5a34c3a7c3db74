"""Errors that users can act on.

Scripts print them as one line and exit with a non-zero status. Any other
exception is a defect and keeps its traceback.
"""

import re


class FFLError(Exception):
    """Base of all errors meant for users."""


class InputError(FFLError, ValueError):
    """Bad input: an argument, file or folder that the user can correct.

    The message is one line that names the argument or file, what was
    expected and what came.
    """


class TrainingDiverged(FFLError, RuntimeError):
    """The loss is no longer finite; the message says where."""


class WorkerLost(FFLError, RuntimeError):
    """Another worker process has ended or can't be reached."""


class Unfinished(FFLError, RuntimeError):
    """A run stopped early without an error and can be resumed."""


def printable(name):
    """The name of a file or folder as text that can be printed and saved.

    Args:
        name: Str or path. Python represents bytes that aren't UTF-8 as
            surrogates, which neither TensorFlow nor UTF-8 files accept.

    Returns:
        Str with such bytes written as `\\xe9`.
    """
    return re.sub(
        "[\udc80-\udcff]",
        lambda found: f"\\x{ord(found[0]) - 0xDC00:x}",
        str(name),
    )


def first_line(error):
    """Returns the first line of an error's text, or its class if it is empty.

    Args:
        error: Exception.

    Returns:
        Str.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def named_first_line(error):
    """Returns the class of an error and the first line of its text."""
    line, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {line}"


def one_line(text):
    """Returns a text with all white space, line breaks too, as one space."""
    return " ".join(str(text).split())
