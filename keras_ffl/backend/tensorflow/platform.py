"""TensorFlow as a platform: devices, compiler, packages."""

import importlib.util

from keras_ffl.optional import tensorflow as tf

NAME = "tensorflow"
PACKAGES = ("tensorflow", "keras", "numpy")
STEPS_IN_A_CALL = False
# The extra `tensorboard` installs the writer of the logs.
TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def has_accelerator():
    """Whether there is a GPU or TPU."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def has_float64():
    """Whether float64 is not float32 by another name."""
    return True


def prefers_xla():
    """Whether XLA compiles steps unless the user says otherwise.

    On CPUs XLA's convolutions are slower than TensorFlow's own.
    """
    return has_accelerator()


def make_deterministic():
    """Makes operations bitwise reproducible; TensorFlow can't undo this."""
    tf.config.experimental.enable_op_determinism()
