"""Encoded photos in the TFRecord files of tensorflow-datasets."""

import concurrent.futures
import dataclasses
import functools
import os
import struct

import numpy as np

from keras_ffl.data.photos.files import EncodedPhotos
from keras_ffl.data.tf_data import untuned
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf

# A record: length, checksum of the length, data, checksum of the data.
_LENGTH = struct.Struct("<Q")
_BEFORE, _AFTER = 12, 4
# Reading the lengths is mostly waiting for the disk.
_THREADS = 32


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoRecords(EncodedPhotos):
    """Photos in TFRecord files with random access.

    TFRecord files lack random access. An index of all records provides it, so
    that examples can be read in any order.

    Args:
        split: Str, the split's name.
        shards: Tuple of paths.
        index: int64 array (n, 4): for each example its number in the split,
            its shard's number, and start and length of its data.
    """

    split: str
    shards: tuple
    index: np.ndarray

    @functools.cached_property
    def names(self):
        """Array (n,) of strings such as `"train[7]"`."""
        return np.array(
            [f"{self.split}[{i}]" for i in self.index[:, 0]], object
        )

    @functools.cached_property
    def labels(self):
        """Integer labels (n,). Getting them reads every record."""
        from tqdm import tqdm

        labels = tf.data.Dataset.range(len(self)).map(
            lambda i: self.from_disk(i)[1], tf.data.AUTOTUNE
        )
        progress = tqdm(
            untuned(labels).as_numpy_iterator(),
            desc=f"Labels of {self.split}",
            total=len(self),
            disable=None,
        )
        return np.fromiter(progress, "int64", len(self))

    def take(self, indices):
        return dataclasses.replace(self, index=self.index[indices])

    def sizes(self):
        return self.index[:, 3].tolist()

    def content(self, i):
        content = tf.numpy_function(self._read, [i], tf.string, stateful=False)
        return tf.ensure_shape(content, ())

    def _read(self, i):
        _, shard, start, length = self.index[i].tolist()
        with open(self.shards[shard], "rb") as file:
            return os.pread(file.fileno(), length, start)

    def name_of(self, i):
        number = tf.strings.as_string(tf.gather(self._numbers, i))
        return tf.strings.join([self.split, "[", number, "]"])

    @functools.cached_property
    def _numbers(self):
        with tf.device("CPU:0"), tf.init_scope():
            return tf.constant(self.index[:, 0])

    def parse(self, content, i):
        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(content, features)
        return example["image"], tf.cast(example["label"], tf.int32)


def open_records(split, shards):
    """Opens TFRecord files as `PhotoRecords`.

    Args:
        split: Str, the split's name.
        shards: Sequence of paths.

    Returns:
        `PhotoRecords` in the order of the files.

    Raises:
        InputError: A file ends within a record.
        OSError: A file can't be read.
    """
    shards = tuple(map(str, shards))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        places = list(threads.map(_places, shards))
    counts = [len(of_shard) for of_shard in places]
    places = np.concatenate(places)
    index = np.column_stack(
        [np.arange(len(places)), np.repeat(np.arange(len(shards)), counts)]
        + [places]
    )
    return PhotoRecords(split, shards, index.astype("int64"))


def _places(path):
    """Start and length of the data of every record in a file, (n, 2)."""
    places = []
    end = os.path.getsize(path)
    # Unbuffered: buffering would read the photo behind every length as well.
    with open(path, "rb", buffering=0) as file:
        position = 0
        while position < end:
            header = os.pread(file.fileno(), _LENGTH.size, position)
            length = _LENGTH.unpack(header)[0] if len(header) == 8 else end
            places.append((position + _BEFORE, length))
            position += _BEFORE + length + _AFTER
    if position != end:
        raise InputError(f"{path} ends within a record")
    return np.array(places, "int64").reshape(-1, 2)
