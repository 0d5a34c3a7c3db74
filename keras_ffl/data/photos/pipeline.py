"""Reads, crops and decodes encoded photos and batches them."""

import contextlib
import ctypes
import functools
import os
import re

from keras_ffl.data.photos.decoding import decode_centre, decode_crop
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf

_NO_EXAMPLE = -1
# glibc's M_TOP_PAD, and how much of each heap's free memory to keep.
_TOP_PAD, _KEPT_BYTES = -2, 32 * 2**20
# Encloses the name of a file in an error that TensorFlow raises.
_MARK = "<photo>"


def decoded(photos, load, rows, sizes, info):
    """Decodes the photos of batches, each according to its row of a plan.

    Args:
        photos: `EncodedPhotos`.
        load: The result of their `reader`, called outside of any graph.
        rows: `tf.data.Dataset` of dicts, for each batch the columns of its
            plan and optionally `kept`, which is not a column.
        sizes: Integers (batches,), the rows of each batch.
        info: `DatasetInfo`.

    Returns:
        `tf.data.Dataset` of tuples of a uint8 tensor
        (batch, height, width, 3), int32 labels (batch,) and the dict
        from `rows`. A photo that can't be decoded ends it with an error that
        `naming_unreadable` turns into an `InputError`.
    """

    _keep_freed_memory()

    def decode(own):
        encoded, label = load(own["example"])
        if "sides" in own:
            image = decode_crop(encoded, own, info)
        else:
            image = decode_centre(encoded, info)
        # Batches of one: rebatching these copies a photo only once.
        return image[tf.newaxis], label[tf.newaxis], own["example"][tf.newaxis]

    def complete(wanted, batch):
        images, labels, found = batch
        wanted_numbers = wanted["example"]
        common = tf.minimum(tf.size(wanted_numbers), tf.size(found))
        differ = wanted_numbers[:common] != found[:common]
        first = tf.boolean_mask(wanted_numbers[:common], differ)[:1]
        name = tf.strings.reduce_join(photos.name_of(first))
        nothing_missing = tf.debugging.Assert(
            tf.size(first) == 0, [tf.strings.join([_MARK, name, _MARK])]
        )
        with tf.control_dependencies([nothing_missing]):
            return tf.identity(images), labels, wanted

    # The decoder's errors don't say which photo they come from. Photos that
    # can't be decoded are skipped here and found missing by `complete`.
    single = (
        rows.map(lambda own: {k: v for k, v in own.items() if k in _READ})
        .unbatch()
        .map(decode, os.cpu_count())
        .ignore_errors()
    )
    # Takes the place of the last photo if that is missing; without it, empty
    # batches at the end would be lost as well.
    after_last = tf.data.Dataset.from_tensors(
        (tf.zeros((1, *info.input_shape), tf.uint8), [0], [_NO_EXAMPLE])
    )
    together = single.concatenate(after_last).rebatch(sizes)
    return tf.data.Dataset.zip(rows, together).map(complete)


@functools.cache
def _keep_freed_memory():
    """Has glibc keep the memory of decoded photos for the next ones.

    Otherwise its threads' heaps return a batch's memory to the system and ask
    for it again: about 50 page faults for each photo, a tenth of the CPU time.
    `MALLOC_TOP_PAD_` in the environment takes precedence.
    """
    if "MALLOC_TOP_PAD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TOP_PAD, _KEPT_BYTES)


# The columns that determine what is decoded of a photo.
_READ = ("example", "sides", "corner", "flip")


@contextlib.contextmanager
def naming_unreadable():
    """Context that turns errors about an unreadable photo into `InputError`.

    Use it around code that draws batches of photos.

    Raises:
        InputError: A photo can't be read or decoded; the message names it.
    """
    try:
        yield
    # TensorFlow's InvalidArgumentError, if TensorFlow is installed.
    except Exception as error:
        found = re.search(f"{_MARK}(.*?){_MARK}", str(error), re.DOTALL)
        if found is None:
            raise
        # TensorFlow has escaped these with a backslash.
        name = re.sub(r"\\(['\"\\])", r"\1", found[1])
        raise InputError(
            f"photo {name} can't be read or decoded. Restore it, or start "
            "anew with verify_images=skip, which leaves out all such files"
        ) from error
