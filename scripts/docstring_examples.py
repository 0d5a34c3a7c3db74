"""Griffe's extension for the site: Keras' "Example:" as its "Examples:"."""

import re
import textwrap

import griffe

_EXAMPLE = re.compile(
    r"^Example:\n\n(.*?)(?=^[A-Z][\w ]*:\n|\Z)", re.MULTILINE | re.DOTALL
)


class KerasExamples(griffe.Extension):
    """Indents examples, which Keras' docstrings have at the margin."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(
                lambda m: "Examples:\n" + textwrap.indent(m[1], "    "),
                obj.docstring.value,
            )
