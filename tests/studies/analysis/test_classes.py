"""Confusion and gains by class, by hand and by counting."""

import numpy as np
import pytest

from keras_ffl import InputError
from keras_ffl.studies.analysis import confusion, most_confused, per_class_gain

Y = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 2, 2, 1])
BASELINE = np.array([0, 1, 2, 0, 0, 0, 2, 2])


def test_confusion_by_counting():
    counts = confusion(Y, PREDICTED, 4)
    expected = np.zeros((4, 4), int)
    for true, said in zip(Y, PREDICTED):
        expected[true, said] += 1
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts[0], [3, 1, 0, 0])


def test_most_confused_by_share():
    counts = confusion(Y, PREDICTED, 4)
    assert most_confused(counts) == [(1, 2, 0.5), (2, 1, 0.5), (0, 1, 0.25)]
    assert most_confused(counts, 1) == [(1, 2, 0.5)]
    np.testing.assert_array_equal(counts, confusion(Y, PREDICTED, 4))


def test_gain_by_hand():
    # Right of 4, 2 and 2 images: 3, 1, 1 against 2, 0, 2; class 3 has none.
    np.testing.assert_allclose(
        per_class_gain(Y, PREDICTED, BASELINE, 4), [25, 50, -50, np.nan]
    )


def test_gains_weighted_by_size_are_the_gain_of_all():
    gain = per_class_gain(Y, PREDICTED, BASELINE, 3)
    total = 100 * (np.mean(PREDICTED == Y) - np.mean(BASELINE == Y))
    assert gain @ np.bincount(Y) / len(Y) == pytest.approx(total)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (PREDICTED[:3], "must both be of shape \\(n,\\), n >= 1"),
        (PREDICTED + 2, "`predicted` must be in 0..2, got 2..4"),
        (PREDICTED - 1, "`predicted` must be in 0..2, got -1..1"),
    ],
)
def test_what_does_not_fit(predicted, message):
    with pytest.raises(InputError, match=message):
        confusion(Y, predicted, 3)
