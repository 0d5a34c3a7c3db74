"""Samples of a data set's images, before normalisation."""

import numpy as np

from keras_ffl.number_checks import check_int


def sample_test(dataset, count=None, seed=0):
    """Samples test images as evaluation sees them, before normalisation.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`.
        count: Int >= 1, number of images to draw at random. None or a count
            above the size of the split for all.
        seed: Int, seed of the draw.

    Returns:
        Tuple of a uint8 array (n, h, w, channels) and the labels (n,), in
        the split's order.

    Raises:
        InputError: `count` is not an int >= 1.
    """
    drawn = _draw(len(dataset.y_test), count, seed)
    return dataset.test_images(drawn), np.asarray(dataset.y_test)[drawn]


def sample_training(dataset, count=None, seed=0):
    """Samples training images, without augmentation.

    Args:
        dataset: `keras_ffl.data.Dataset` or `PhotoDataset`.
        count: As in `sample_test`.
        seed: Int, seed of the draw.

    Returns:
        As in `sample_test`.

    Raises:
        InputError: `count` is not an int >= 1.
    """
    drawn = _draw(dataset.num_train, count, seed)
    return sample_test(dataset.divided(drawn, drawn)[1])


def _draw(total, count, seed):
    if count is None:
        return np.arange(total)
    count = check_int("count", count, least=1)
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
