"""Raw images of a data set's splits."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from keras_ffl import InputError, data


def test_images_of_both_splits():
    x = np.repeat(np.arange(20, dtype="uint8"), 4 * 4 * 2).reshape(20, 4, 4, 2)
    y = np.arange(20) % 2
    dataset = data.from_arrays(x + 100, y, x, y)
    images, labels = data.sample_test(dataset)
    assert_array_equal(images, x)
    assert_array_equal(labels, y)
    images, labels = data.sample_test(dataset, 5)
    chosen = images[:, 0, 0, 0]
    assert len(set(chosen)) == 5 and list(chosen) == sorted(chosen)
    assert_array_equal(labels, chosen % 2)
    images, _ = data.sample_training(dataset, 7)
    assert images.shape == (7, 4, 4, 2) and images.dtype == np.uint8
    assert images.min() >= 100
    with pytest.raises(InputError, match="`count` must be an int >= 1, got 0"):
        data.sample_training(dataset, 0)
