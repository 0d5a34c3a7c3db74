"""Checks of single numbers and switches from the user."""

import numbers

import numpy as np

from keras_ffl.errors import InputError


def is_int(value):
    """Whether `value` is an integer (Python's or NumPy's) but not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value):
    """Whether `value` is a Python int or float but not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_int(argument, value, least, most=None):
    """Returns `value` as an int in [least, most], or raises `InputError`."""
    if not is_int(value) or value < least or (most and value > most):
        bounds = f">= {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"`{argument}` must be an int {bounds}, got {value!r}")
    return int(value)


def check_bool(argument, value):
    """Returns `value` as a bool, or raises `InputError` for other types."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"`{argument}` must be True or False, got {value!r}")
    return bool(value)


def check_number(argument, value):
    """Returns `value`, a finite number >= 0, or raises `InputError`."""
    if not is_number(value) or not 0 <= value < float("inf"):
        raise InputError(f"`{argument}` must be a number >= 0, got {value!r}")
    return value


def check_temperature(temperature):
    """Returns a number > 0 as a float, or raises `InputError`."""
    if not is_number(temperature) or not 0 < temperature < float("inf"):
        raise InputError(
            f"`temperature` must be a number > 0, got {temperature!r}"
        )
    return float(temperature)
