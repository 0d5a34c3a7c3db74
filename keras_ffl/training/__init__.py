"""Runs from their configuration to their results.

The only package that knows all the others: data, method, optimizer and
callbacks come together here.
"""

from keras_ffl.training.parts import build_method, build_model, load_data
from keras_ffl.training.single import train

__all__ = ["build_method", "build_model", "load_data", "train"]
