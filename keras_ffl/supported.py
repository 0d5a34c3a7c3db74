"""Refuses Keras' other backends. Imported before all else of the package."""

import os
import pathlib
import sys

from keras_ffl.errors import InputError

BACKENDS = ("tensorflow", "jax")
_SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


def check_backend():
    """Checks that Keras' backend is one that the package trains on.

    Raises:
        InputError: It is another one. A script of this repository, which has
            not come as far as `keras_ffl.cli.run`, ends with one line.
    """
    name = os.environ.get("KERAS_BACKEND")
    # Keras may not be imported before: for a backend that is not installed
    # it fails with an error about a package that nobody asked for.
    if not name or "keras" in sys.modules:
        import keras

        name = keras.config.backend()
    if name in BACKENDS:
        return
    message = (
        "`KERAS_BACKEND` must be tensorflow or jax, on which keras_ffl "
        f"trains, got {name}"
    )
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and pathlib.Path(script).resolve().parent == _SCRIPTS.resolve():
        sys.exit(f"error: {message}")
    raise InputError(message)


check_backend()
