"""Data sets, augmentation and the input pipeline."""

from keras_ffl.data.arrays import (
    Dataset,
    DatasetInfo,
    from_arrays,
    split_holdout,
)
from keras_ffl.data.augmentation import (
    Augmentation,
    crop_and_flip,
    cut_out,
    draw_epoch,
)
from keras_ffl.data.datasets import DATASETS, load
from keras_ffl.data.pipeline import (
    evaluation_batches,
    normalize,
    steps_per_epoch,
    training_batches,
)

__all__ = [
    "Augmentation",
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "crop_and_flip",
    "cut_out",
    "draw_epoch",
    "evaluation_batches",
    "from_arrays",
    "load",
    "normalize",
    "split_holdout",
    "steps_per_epoch",
    "training_batches",
]
