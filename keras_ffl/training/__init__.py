"""Runs, from configuration to results.

The only package that depends on all others: it combines data, method,
optimizer and callbacks.
"""

from keras_ffl.training.parts import build_method, build_model, load_data
from keras_ffl.training.single import train
from keras_ffl.training.summary import summary
from keras_ffl.training.trained import (
    describe_run,
    load_run,
    load_run_data,
)

__all__ = [
    "build_method",
    "build_model",
    "describe_run",
    "load_data",
    "load_run",
    "load_run_data",
    "summary",
    "train",
]
