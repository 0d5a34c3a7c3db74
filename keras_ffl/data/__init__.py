"""Data sets and their batches: plan -> read -> transform -> network."""

from keras_ffl.data.arrays import (
    Dataset,
    evaluation_batches,
    from_arrays,
    read_npz,
    training_batches,
)
from keras_ffl.data.augmentation import Augmentation
from keras_ffl.data.batches import (
    Batches,
    BatchOptions,
    steps_per_call,
    steps_per_epoch,
)
from keras_ffl.data.datasets import DATASETS, load
from keras_ffl.data.epoch_plan import Plan
from keras_ffl.data.holdout import split_holdout
from keras_ffl.data.info import DatasetInfo
from keras_ffl.data.photos import (
    PHOTO_SUFFIXES,
    PhotoDataset,
    PhotoFiles,
    PhotoOptions,
    decode_centre,
    decode_image,
    from_folder,
    naming_unreadable,
    read_images,
)
from keras_ffl.data.sampling import sample_test, sample_training
from keras_ffl.data.share import (
    Share,
    evaluation_batch_size,
    static_evaluation_batch_size,
)
from keras_ffl.data.transform import Pixels, normalize

__all__ = [
    "Augmentation",
    "BatchOptions",
    "Batches",
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "PHOTO_SUFFIXES",
    "PhotoDataset",
    "PhotoFiles",
    "PhotoOptions",
    "Pixels",
    "Plan",
    "Share",
    "decode_centre",
    "decode_image",
    "evaluation_batch_size",
    "evaluation_batches",
    "from_arrays",
    "from_folder",
    "load",
    "naming_unreadable",
    "normalize",
    "read_images",
    "read_npz",
    "sample_test",
    "sample_training",
    "split_holdout",
    "static_evaluation_batch_size",
    "steps_per_call",
    "steps_per_epoch",
    "training_batches",
]
