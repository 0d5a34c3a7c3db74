"""Images as exported heads take them: not normalised, uint8."""

import numpy as np

from keras_ffl.errors import InputError


def check_images(dataset, count=10_000, seed=0):
    """Images of the test split as evaluation shows them, not normalised.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`. Photos are
            decoded, cut to their centre and rounded.
        count: Int >= 1; all images where there are no more, else so many,
            drawn at random.
        seed: Int, of the draw.

    Returns:
        Tuple of a uint8 array (n, h, w, channels) and the labels (n,), in
        the split's order.

    Raises:
        InputError: `count` is no such number.
    """
    info = dataset.info
    drawn = _draw(len(dataset.y_test), count, seed)
    kept, start = [], 0
    for images, _ in dataset.evaluation_batches().as_numpy_iterator():
        own = drawn[(drawn >= start) & (drawn < start + len(images))] - start
        raw = images[own] * info.std + info.mean
        kept.append(np.rint(np.clip(raw, 0, 255)).astype("uint8"))
        start += len(images)
    return np.concatenate(kept), np.asarray(dataset.y_test)[drawn]


def calibration_images(dataset, count=500, seed=0):
    """Images of the training split, drawn at random, without augmentation.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`.
        count: Int >= 1; all images where there are fewer.
        seed: Int, of the draw.

    Returns:
        uint8 array (n, h, w, channels).

    Raises:
        InputError: `count` is no such number.
    """
    drawn = _draw(dataset.num_train, count, seed)
    return check_images(dataset.divided(drawn, drawn)[1], count)[0]


def _draw(total, count, seed):
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"`count` must be an int >= 1, got {count!r}")
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
