"""TensorFlow: the names that `keras_ffl.backend` lists."""

from keras_ffl.backend.tensorflow.devices import make_devices, split_cpu
from keras_ffl.backend.tensorflow.gradients import gradients_of
from keras_ffl.backend.tensorflow.kernels import (
    fused_batch_norm,
    momentum_kernel,
)
from keras_ffl.backend.tensorflow.platform import (
    NAME,
    PACKAGES,
    STEPS_IN_A_CALL,
    TENSORBOARD,
    has_accelerator,
    has_float64,
    make_deterministic,
    prefers_xla,
)
from keras_ffl.backend.tensorflow.replicas import (
    in_strategy,
    num_replicas,
    sum_over_replicas,
)
from keras_ffl.backend.tensorflow.sizes import same_size_in_step
from keras_ffl.backend.tensorflow.steps import MethodModel
from keras_ffl.backend.tensorflow.values import after_checks, said_by

__all__ = [
    "STEPS_IN_A_CALL",
    "MethodModel",
    "NAME",
    "PACKAGES",
    "TENSORBOARD",
    "after_checks",
    "fused_batch_norm",
    "gradients_of",
    "has_accelerator",
    "has_float64",
    "in_strategy",
    "make_deterministic",
    "make_devices",
    "momentum_kernel",
    "num_replicas",
    "prefers_xla",
    "said_by",
    "same_size_in_step",
    "split_cpu",
    "sum_over_replicas",
]
