"""Data sets of encoded photos on disk."""

from keras_ffl.data.photos.decoding import decode_centre, decode_image
from keras_ffl.data.photos.files import PhotoFiles
from keras_ffl.data.photos.folder import PHOTO_SUFFIXES, from_folder
from keras_ffl.data.photos.imagenet import imagenet2012
from keras_ffl.data.photos.named_files import read_images
from keras_ffl.data.photos.photo_dataset import PhotoDataset, PhotoOptions
from keras_ffl.data.photos.pipeline import naming_unreadable

__all__ = [
    "PHOTO_SUFFIXES",
    "PhotoDataset",
    "PhotoFiles",
    "PhotoOptions",
    "decode_centre",
    "decode_image",
    "from_folder",
    "imagenet2012",
    "naming_unreadable",
    "read_images",
]
