"""Calibration against values by hand and a plain loop."""

import numpy as np
import pytest

from keras_ffl import InputError
from keras_ffl.studies.analysis import expected_calibration_error, reliability

# Confidences 0.9 (right), 0.8 (wrong), 0.6 (right), 0.55 (right).
Y = np.array([0, 1, 1, 0])
P = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.55, 0.45]])


def test_bins_by_hand():
    table = reliability(Y, P, bins=4)
    np.testing.assert_array_equal(table["lower"], [0, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(table["upper"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(table["count"], [0, 0, 2, 2])
    nan = np.nan
    np.testing.assert_allclose(table["confidence"], [nan, nan, 0.575, 0.85])
    np.testing.assert_allclose(table["accuracy"], [nan, nan, 1, 0.5])


def test_error_by_hand():
    # 2/4 * (1 - 0.575) + 2/4 * (0.85 - 0.5)
    error = expected_calibration_error(Y, P, bins=4)
    assert error == pytest.approx(0.3875)
    # One bin: the accuracy 3/4 against the mean confidence.
    one = expected_calibration_error(Y, P, bins=1)
    assert one == pytest.approx(abs(0.75 - 2.85 / 4))


def test_edges_belong_to_the_lower_bin():
    p = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    table = reliability(np.zeros(3, int), p, bins=4)
    np.testing.assert_array_equal(table["count"], [0, 1, 1, 1])


def test_error_against_a_loop():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(7, 0.4), size=500)
    y = random.integers(0, 7, 500)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(500) if b / 15 < p[i].max() <= (b + 1) / 15]
        if inside:
            right = sum(p[i].argmax() == y[i] for i in inside)
            confident = sum(p[i].max() for i in inside)
            expected += abs(right - confident) / 500
    assert expected > 0.3
    assert expected_calibration_error(y, p) == pytest.approx(expected)


def test_a_calibrated_classifier_has_no_error():
    p = np.tile([0.75, 0.25], (400, 1))
    y = np.array([0, 0, 0, 1] * 100)
    assert expected_calibration_error(y, p) == pytest.approx(0)


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], P, "must have the same n, got shapes \\(2,\\)"),
        ([0, 1, 2, 0], P, "`y` must be integers in 0..1, got int64 in 0..2"),
        (Y, 2 * P, "rows >= 0 with sum 1, got .* sums in 2..2"),
        (Y, P + [0, np.nan], "rows >= 0 with sum 1"),
        (Y, np.log(P), "rows >= 0 with sum 1"),
        ([], np.ones((0, 2)), "at least one label"),
    ],
)
def test_what_does_not_fit(y, p, message):
    with pytest.raises(InputError, match=message):
        expected_calibration_error(np.array(y, int), p)


@pytest.mark.parametrize("bins", [0, 2.5])
def test_bins_that_are_none(bins):
    with pytest.raises(InputError, match="`bins` must be an int >= 1"):
        reliability(Y, P, bins)
