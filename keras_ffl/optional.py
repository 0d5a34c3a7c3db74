"""Packages that only parts of this one need, imported on first use."""

import importlib
import os
import sys

from keras_ffl.errors import InputError


class OptionalPackage:
    """Stands in for a package until its first use.

    Args:
        name: Str, the package's name.
        purpose: Str, what needs it, for the message.
        extra: Str, the extra of keras_ffl that installs it, or None.

    Raises:
        InputError: On first use, if the package is not installed.
    """

    def __init__(self, name, purpose, extra=None):
        self._name = name
        self._purpose = purpose
        self._source = f'"keras-ffl[{extra}]"' if extra else name

    def _load(self):
        try:
            return importlib.import_module(self._name)
        except ModuleNotFoundError as error:
            if error.name != self._name:
                raise
            raise InputError(
                f"{self._purpose} need {self._name}, which is not installed: "
                f"pip install {self._source}"
            ) from error

    def __getattr__(self, attribute):
        return getattr(self._load(), attribute)


def require(*packages):
    """Checks that packages are installed, before long work that needs them.

    Args:
        *packages: `OptionalPackage` objects.

    Raises:
        InputError: A package is not installed.
    """
    for package in packages:
        package._load()


def import_modules(names):
    """Imports modules by name, for example one with the user's own method.

    They may also be in the current folder.

    Args:
        names: List of str.

    Raises:
        InputError: A module can't be imported.
    """
    if names and os.getcwd() not in sys.path:
        # Last, so that files there can't hide packages.
        sys.path.append(os.getcwd())
    for name in names:
        try:
            if not all(part.isidentifier() for part in name.split(".")):
                raise ImportError("it must be written as in `import a.b`")
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"`import`: module {name!r} can't be imported: {error}"
            ) from error


tensorflow = OptionalPackage(
    "tensorflow", "photos, tf.data pipelines and exported models"
)
psutil = OptionalPackage("psutil", "photos and large trainings")
matplotlib = OptionalPackage("matplotlib", "pictures", extra="studies")
onnx = OptionalPackage("onnx", "the cards within ONNX files", extra="onnx")
jinja2 = OptionalPackage("jinja2", "reports", extra="studies")
