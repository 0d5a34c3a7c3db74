"""Data sets, augmentation and the input pipeline."""

from keras_ffl.data.arrays import Dataset, from_arrays
from keras_ffl.data.augmentation import (
    Augmentation,
    crop_and_flip,
    cut_out,
    draw_epoch,
)
from keras_ffl.data.datasets import DATASETS, load
from keras_ffl.data.holdout import split_holdout
from keras_ffl.data.image_folder import from_folder
from keras_ffl.data.info import DatasetInfo
from keras_ffl.data.named_files import read_images
from keras_ffl.data.npz import read_npz
from keras_ffl.data.photo_decoding import (
    decode_centre,
    decode_image,
    draw_crops,
)
from keras_ffl.data.photo_files import PhotoFiles
from keras_ffl.data.photo_pipeline import naming_unreadable
from keras_ffl.data.photos import PhotoDataset, PhotoOptions
from keras_ffl.data.pipeline import (
    displayed,
    evaluation_batches,
    normalize,
    steps_per_epoch,
    training_batches,
)
from keras_ffl.data.plans import steps_per_call
from keras_ffl.data.sampling import sample_test, sample_training

__all__ = [
    "Augmentation",
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "PhotoDataset",
    "PhotoFiles",
    "PhotoOptions",
    "crop_and_flip",
    "cut_out",
    "decode_centre",
    "decode_image",
    "displayed",
    "draw_crops",
    "draw_epoch",
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
    "steps_per_call",
    "steps_per_epoch",
    "training_batches",
]
