"""Rejects unsupported Keras backends. Imported first in the package."""

import os
import pathlib
import sys

from keras_ffl.errors import InputError

BACKENDS = ("tensorflow", "jax")
_SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


def check_backend():
    """Checks that the package supports Keras' backend.

    Raises:
        InputError: It doesn't. A script of this repository, which hasn't
            reached `keras_ffl.cli.run` yet, ends with a one-line error.
    """
    name = os.environ.get("KERAS_BACKEND")
    # Keras must not be imported first: for a backend that isn't installed, it
    # fails with an obscure error about that package.
    if not name or "keras" in sys.modules:
        import keras

        name = keras.config.backend()
    if name in BACKENDS:
        return
    message = (
        f"`KERAS_BACKEND` must be tensorflow or jax for keras_ffl, got {name}"
    )
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and pathlib.Path(script).resolve().parent == _SCRIPTS.resolve():
        sys.exit(f"error: {message}")
    raise InputError(message)


check_backend()
