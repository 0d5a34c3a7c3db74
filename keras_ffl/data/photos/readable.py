"""Finds the photos that can't be decoded before training starts."""

import os
import re
import warnings

import numpy as np

from keras_ffl.data.photos.files import why_unreadable
from keras_ffl.data.tf_data import untuned
from keras_ffl.errors import InputError, printable
from keras_ffl.optional import tensorflow as tf

_BATCH = 64


def without_unreadable(splits, options, place):
    """Leaves out the photos that can't be decoded.

    Args:
        splits: Sequence of `EncodedPhotos`.
        options: `PhotoOptions`.
        place: Str, the location that the warning or error names.

    Returns:
        Tuple of the list of the remaining splits and a tuple of the names that
        were left out.

    Raises:
        InputError: There are such photos and `options.verify` is "stop".
    """
    left_out = options.left_out
    if left_out is None:
        left_out = (
            _unreadable(splits, options, place)
            if options.verify != "no"
            else ()
        )
    if left_out:
        splits = [s.take(~np.isin(_printable(s), left_out)) for s in splits]
    return list(splits), tuple(left_out)


def _printable(photos):
    return [printable(name) for name in photos.names]


def _unreadable(splits, options, place):
    reasons = {}
    for photos in splits:
        for i, reason in find_unreadable(photos).items():
            reasons[printable(photos.names[i])] = reason
    if not reasons:
        return ()
    found = "; ".join(f"{name} ({why})" for name, why in reasons.items())
    message = f"{place}: {len(reasons)} photos can't be decoded"
    if options.verify == "stop":
        raise InputError(f"{message}: {found}")
    warnings.warn(f"{message} and are left out: {found}", stacklevel=4)
    return tuple(reasons)


def find_unreadable(photos):
    """Reads and decodes every photo once.

    Args:
        photos: `EncodedPhotos`.

    Returns:
        Dict from the index of every photo that can't be decoded to the
        reason, one line.
    """
    from tqdm import tqdm

    def decode(i):
        image = _decode(photos, i)
        # Decoding only happens if some of the result is used.
        return i, tf.shape(image)

    readable = np.zeros(len(photos), bool)
    decoded = (
        tf.data.Dataset.range(len(photos))
        .map(decode, os.cpu_count(), deterministic=False)
        .ignore_errors()
        .batch(_BATCH)
    )
    # disable=None shows the bar on terminals only.
    with tqdm(total=len(photos), desc="Verifying", disable=None) as bar:
        for indices, _ in untuned(decoded).as_numpy_iterator():
            readable[indices] = True
            bar.update(len(indices))
    return {int(i): _reason(photos, i) for i in np.nonzero(~readable)[0]}


def _decode(photos, i):
    encoded, _ = photos.from_disk(i)
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _reason(photos, i):
    try:
        _decode(photos, tf.constant(i))
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # Drops the operation names that surround the message.
        return re.sub(r"\{\{.*?\}\} | \[Op:.*", "", why_unreadable(error))
    return "it could not be read a moment ago"
