"""JAX as a platform: devices, compiler, packages."""

import os

import jax

NAME = "jax"
PACKAGES = ("jax", "jaxlib", "keras", "numpy")
STEPS_IN_A_CALL = True
# Keras writes them with TensorFlow, which would occupy the GPU's memory.
TENSORBOARD = False
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def has_accelerator():
    """Whether there is a GPU or TPU."""
    return jax.default_backend() != "cpu"


def has_float64():
    """Whether float64 is not float32 by another name."""
    return jax.config.jax_enable_x64


def prefers_xla():
    """Whether XLA compiles steps unless the user says otherwise."""
    return True


def make_deterministic():
    """Makes operations bitwise reproducible if JAX has not yet started.

    On CPUs they always are.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()
