"""Encoded photos on disk, read into memory if they fit."""

import dataclasses
import functools
import os

import numpy as np

from keras_ffl.data.photos.pipeline import decoded, naming_unreadable
from keras_ffl.data.tf_data import signature, untuned
from keras_ffl.errors import InputError, first_line, printable
from keras_ffl.optional import psutil
from keras_ffl.optional import tensorflow as tf

# A split's encoded photos are kept in memory if they take at most this many
# bytes and at most this fraction of the free memory.
_KEEP_BYTES = 4 * 2**30
_KEEP_PART = 0.25


class EncodedPhotos:
    """The photos of one split, read when they are needed.

    Subclasses have `names`, an array (n,) of strings that identify the
    photos, `labels`, an integer array (n,), and the methods below that raise
    `NotImplementedError`.
    """

    are_photos = True

    def take(self, indices):
        """Returns the photos with the given indices."""
        raise NotImplementedError

    def sizes(self):
        """Returns an iterable of the photos' sizes in bytes."""
        raise NotImplementedError

    def content(self, i):
        """Returns the bytes of example `i` on disk, a scalar string tensor."""
        raise NotImplementedError

    def parse(self, content, i):
        """Returns the encoded photo and the label in `content`, tensors."""
        raise NotImplementedError

    def name_of(self, i):
        """Returns the printable names of examples `i`, a string tensor."""
        raise NotImplementedError

    def __len__(self):
        return len(self.names)

    def from_disk(self, i):
        """Reads an example from disk, for use within `tf.data`.

        Args:
            i: Scalar integer tensor.

        Returns:
            Tuple of the encoded photo, a scalar string tensor, and its label,
            a scalar int32 tensor.
        """
        return self.parse(self.content(i), i)

    def read(self, plans, info):
        """Decodes images and labels; see `keras_ffl.data.arrays.Examples`."""
        sizes = [len(plan) for plan in plans()]
        rows = tf.data.Dataset.from_generator(
            lambda: (plan.columns() for plan in plans()),
            output_signature=signature(next(iter(plans()))),
        )
        batches = decoded(self, self.reader(), rows, sizes, info)
        pairs = batches.map(lambda x, y, _: (x, y))
        with naming_unreadable():
            yield from untuned(pairs).as_numpy_iterator()

    def read_by_tf_data(self, epochs, rows_of, sizes, info, finish):
        """Like `read`; see `keras_ffl.data.arrays.Examples`."""
        load = self.reader()
        return epochs.flat_map(
            lambda columns: decoded(self, load, rows_of(columns), sizes, info)
        ).map(finish, tf.data.AUTOTUNE)

    def reader(self):
        """Returns `from_disk`, or its equivalent from memory if all photos fit.

        Raises:
            InputError: A photo to be kept in memory can't be read.
        """
        if not self._fit_into_memory:
            return self.from_disk
        contents = self._contents
        return lambda i: self.parse(tf.gather(contents, i), i)

    @functools.cached_property
    def _fit_into_memory(self):
        limit = min(_KEEP_BYTES, _KEEP_PART * psutil.virtual_memory().available)
        for size in self.sizes():
            limit -= size
            if limit < 0:
                return False
        return True

    @functools.cached_property
    def _contents(self):
        everything = tf.data.Dataset.range(len(self)).map(
            self.content, tf.data.AUTOTUNE
        )
        try:
            with tf.device("CPU:0"):
                return everything.batch(len(self)).get_single_element()
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise InputError(
                f"a photo can't be read: {why_unreadable(error)}"
            ) from error


def _bytes(name):
    # The same as os.fsencode, which can't be traced.
    return name.encode(errors="surrogateescape")


def why_unreadable(error):
    """The first line of TensorFlow's error about a file.

    Args:
        error: `tf.errors.OpError`, or the `UnicodeDecodeError` that replaces
            it if the file's name is not UTF-8.

    Returns:
        Str.
    """
    if isinstance(error, UnicodeDecodeError):
        message = error.object.decode("utf-8", "backslashreplace")
    else:
        message = error.message
    return first_line(message)


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoFiles(EncodedPhotos):
    """Photos in files, one photo per file.

    Args:
        root: Path of the folder that contains the files.
        names: Array (n,) of strings, paths relative to `root`.
        labels: Integer array (n,).

    Raises:
        InputError: `names` and `labels` differ in length.
    """

    root: str
    names: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if len(self.names) != len(self.labels):
            raise InputError(
                f"`labels` must be {len(self.names)} integers, one for every "
                f"photo, got {len(self.labels)}"
            )

    def take(self, indices):
        return dataclasses.replace(
            self, names=self.names[indices], labels=self.labels[indices]
        )

    def sizes(self):
        for name in self.names:
            path = os.path.join(self.root, name)
            # A missing file is reported when it is read.
            yield os.path.getsize(path) if os.path.exists(path) else 0

    def content(self, i):
        name = tf.gather(self._tensors["names"], i)
        return tf.io.read_file(tf.strings.join([_bytes(self.root), "/", name]))

    def name_of(self, i):
        name = tf.gather(self._tensors["printable"], i)
        return tf.strings.join([printable(self.root), "/", name])

    def parse(self, content, i):
        return content, tf.gather(self._tensors["labels"], i)

    @functools.cached_property
    def _tensors(self):
        # File names are bytes that may not be UTF-8.
        names = [_bytes(name) for name in self.names]
        shown = [printable(name).encode() for name in self.names]
        # Kept on the host even if there is an accelerator.
        with tf.device("CPU:0"), tf.init_scope():
            found = tf.constant(names, tf.string)
            return {
                "names": found,
                "printable": found
                if shown == names
                else tf.constant(shown, tf.string),
                "labels": tf.constant(self.labels, tf.int32),
            }
