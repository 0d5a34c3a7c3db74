"""Packages that only a part of this one needs, imported when they are used."""

import importlib

from keras_ffl.errors import InputError


class OptionalPackage:
    """Stands for a package until it is used for the first time.

    Args:
        name: Str, the package's name.
        purpose: Str, what needs it, for the message.

    Raises:
        InputError: On first use, where the package is not installed.
    """

    def __init__(self, name, purpose):
        self._name = name
        self._purpose = purpose

    def __getattr__(self, attribute):
        try:
            package = importlib.import_module(self._name)
        except ModuleNotFoundError as error:
            if error.name != self._name:
                raise
            raise InputError(
                f"{self._purpose} need {self._name}, which is not installed: "
                f"pip install {self._name}"
            ) from error
        return getattr(package, attribute)


tensorflow = OptionalPackage(
    "tensorflow", "photos, tf.data pipelines and exported models"
)
psutil = OptionalPackage("psutil", "photos")
