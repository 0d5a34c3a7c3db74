"""Images of a data set as evaluation shows them, but not normalised."""

import numpy as np

from keras_ffl.errors import InputError


def sample_test(dataset, count=None, seed=0):
    """Images of the test split as evaluation shows them, not normalised.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`.
        count: Int >= 1, images to draw at random; None for all, which it is
            too where there are no more.
        seed: Int, of the draw.

    Returns:
        Tuple of a uint8 array (n, h, w, channels) and the labels (n,), in
        the split's order.

    Raises:
        InputError: `count` is no such number.
    """
    drawn = _draw(len(dataset.y_test), count, seed)
    return dataset.test_images(drawn), np.asarray(dataset.y_test)[drawn]


def sample_training(dataset, count=None, seed=0):
    """Images of the training split, drawn at random, without augmentation.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`.
        count: As of `sample_test`.
        seed: Int, of the draw.

    Returns:
        As `sample_test`.

    Raises:
        InputError: `count` is no such number.
    """
    drawn = _draw(dataset.num_train, count, seed)
    return sample_test(dataset.divided(drawn, drawn)[1])


def _draw(total, count, seed):
    if count is None:
        return np.arange(total)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"`count` must be an int >= 1, got {count!r}")
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
