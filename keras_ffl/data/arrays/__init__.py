"""Data sets whose images are arrays in memory."""

from keras_ffl.data.arrays.array_dataset import Dataset, from_arrays
from keras_ffl.data.arrays.array_examples import (
    Examples,
    evaluation_batches,
    training_batches,
)
from keras_ffl.data.arrays.npz import read_npz

__all__ = [
    "Dataset",
    "Examples",
    "evaluation_batches",
    "from_arrays",
    "read_npz",
    "training_batches",
]
