"""Rejects unsupported Keras backends. Imported first in the package."""

import os
import sys

from keras_ffl.errors import InputError

BACKENDS = ("tensorflow", "jax")


def check_backend():
    """Checks that the package supports Keras' backend.

    Raises:
        InputError: It doesn't.
    """
    name = os.environ.get("KERAS_BACKEND")
    # Keras must not be imported first: for a backend that isn't installed, it
    # fails with an obscure error about that package.
    if not name or "keras" in sys.modules:
        import keras

        name = keras.config.backend()
    if name in BACKENDS:
        return
    raise InputError(
        f"`KERAS_BACKEND` must be tensorflow or jax for keras_ffl, got {name}"
    )


check_backend()
