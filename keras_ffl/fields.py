"""Frozen dataclasses with checked fields that can be parsed from text."""

import dataclasses
import functools
import os
import typing

from keras_ffl.errors import InputError
from keras_ffl.number_checks import is_number

_MOST = 1e9
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def field(
    default=dataclasses.MISSING,
    least=None,
    most=_MOST,
    choices=None,
    path=False,
):
    """Makes a field of a subclass of `Fields`.

    Args:
        default: Its default; without one the field is required.
        least: The smallest allowed number, or None if values aren't numbers.
        most: The largest allowed number.
        choices: Sequence of the allowed strings, or None for any.
        path: Bool, whether it is a path, which must not be empty.
    """
    limits = {"least": least, "most": most, "choices": choices, "path": path}
    return dataclasses.field(default=default, metadata=limits)


class Fields:
    """Base of frozen dataclasses of `field`s.

    Types are bool, int, float, str, tuples of these, and their optional
    variants.

    Raises:
        InputError: A value has the wrong type or is out of range.
    """

    def __post_init__(self):
        for each in dataclasses.fields(self):
            if each.metadata:
                value = _checked(type(self), each, getattr(self, each.name))
                object.__setattr__(self, each.name, value)

    @classmethod
    def names(cls):
        """Names of the fields made by `field`, a list."""
        return [each.name for each in dataclasses.fields(cls) if each.metadata]

    @classmethod
    def default(cls, name):
        """The default of a field."""
        return cls.__dataclass_fields__[name].default

    @classmethod
    def parse(cls, name, text):
        """Parses the value of a field from text.

        Args:
            name: Name of the field.
            text: Str; tuples are comma-separated, None is written `none`.

        Raises:
            InputError: The text doesn't have the field's type.
        """
        kind, is_tuple, optional = _kinds(cls, name)
        if optional and text.lower() == "none":
            return None
        try:
            if is_tuple:
                return tuple(kind(item) for item in text.split(",") if item)
            if kind is bool:
                return _BOOLEANS[text.lower()]
            return kind(text)
        except (ValueError, KeyError):
            expected = f"a comma-separated list of {kind.__name__}"
            raise InputError(
                f"`{name}` must be {expected if is_tuple else kind.__name__}, "
                f"got {shown(text)}"
            ) from None


@functools.cache
def _hints(cls):
    return typing.get_type_hints(cls)


def _kinds(cls, name):
    """The type of a field: (type, whether a tuple, whether optional)."""
    annotation = _hints(cls)[name]
    optional = type(None) in typing.get_args(annotation)
    if optional:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True, optional
    return annotation, False, optional


def _matches(value, kind):
    if kind in (int, float):
        return is_number(value) and isinstance(value, (int, kind))
    return isinstance(value, kind)


def _checked(cls, each, value):
    kind, is_tuple, optional = _kinds(cls, each.name)
    if value is None and optional:
        return None
    items = value if is_tuple else [value]
    if not isinstance(items, (tuple, list)) or not all(
        _matches(item, kind) for item in items
    ):
        wanted = getattr(kind, "__name__", str(kind))
        raise InputError(
            f"`{each.name}` must be {'a tuple of ' * is_tuple}{wanted}"
            f"{' or none' if optional else ''}, got {shown(value)}"
        )
    limits = each.metadata
    for item in items:
        if item is None:
            continue
        if limits["choices"] and item not in limits["choices"]:
            raise InputError(
                f"`{each.name}` must be one of "
                f"{', '.join(limits['choices'])}, got {shown(item)}"
            )
        least, most = limits["least"], limits["most"]
        if least is not None and not least <= item <= most:
            raise InputError(
                f"`{each.name}` must be between {least:g} and {most:g}, got "
                f"{shown(item)}"
            )
        if limits["path"] and not item:
            raise InputError(f"`{each.name}` must be a path, got an empty one")
    if kind is float:
        items = [float(item) for item in items]
    if limits["path"]:
        items = [os.path.expanduser(item) for item in items]
    return tuple(items) if is_tuple else items[0]


def shown(value):
    """A value for a message, truncated if it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python limits the digits of a number.
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}..."
