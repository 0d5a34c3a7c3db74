"""The draws in NumPy are those of TensorFlow's stateless operations."""

import numpy as np
import pytest

from keras_ffl.data import Augmentation, augmentation, draws, pipeline

tf = pytest.importorskip("tensorflow")


@pytest.mark.parametrize("seed", [[3, 5], [-7, 2**40]])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_words(seed, n):
    expected = tf.random.stateless_uniform(
        [n], seed, None, None, tf.uint32, "philox"
    )
    np.testing.assert_array_equal(draws.random_words(seed, n), expected)


@pytest.mark.parametrize(("seed", "epoch", "n"), [(0, 0, 7), (11, 299, 1000)])
def test_order_of_an_epoch(seed, epoch, n):
    np.testing.assert_array_equal(
        draws.epoch_order(seed, epoch, n), pipeline.epoch_order(seed, epoch, n)
    )


@pytest.mark.parametrize(
    "options", [{}, {"cutout": 8}, {"flip": False, "pad": 2}]
)
def test_draws_of_an_epoch(options):
    options = Augmentation(**options)
    ours = draws.draw_epoch(1, 2, 50, options)
    theirs = augmentation.draw_epoch(1, 2, 50, options)
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)
        assert ours[name].dtype == values.numpy().dtype
