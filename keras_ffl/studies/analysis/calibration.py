"""Calibration: whether a classifier's confidence matches its accuracy."""

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.number_checks import check_int

BINS = 15
"""Number of bins used by Guo et al."""


def reliability(y, probabilities, bins=BINS):
    """Computes a classifier's confidence and accuracy in confidence bins.

    The confidence is the probability of the predicted class. Bins have equal
    width; a value on an edge belongs to the lower bin.

    Args:
        y: Integer labels (n,).
        probabilities: Float array (n, classes), rows with sum 1.
        bins: Int >= 1.

    Returns:
        Dict of arrays (bins,): `lower` and `upper`, the edges; `count`, the
        number of images; `confidence` and `accuracy`, their means in
        [0, 1], NaN in an empty bin.

    Raises:
        InputError: Shapes don't fit, a label is outside the classes, or rows
            aren't distributions.

    Reference:
        Guo et al., 2017, "On Calibration of Modern Neural Networks",
        https://arxiv.org/abs/1706.04599, section 2.
    """
    y, probabilities = _checked(y, probabilities)
    bins = check_int("bins", bins, least=1)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == y
    edges = np.linspace(0, 1, bins + 1)
    places = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(places, minlength=bins)

    def mean(values):
        total = np.bincount(places, weights=values, minlength=bins)
        return np.divide(
            total, count, out=np.full(bins, np.nan), where=count > 0
        )

    return {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count,
        "confidence": mean(confidence),
        "accuracy": mean(right),
    }


def expected_calibration_error(y, probabilities, bins=BINS):
    """Computes the mean gap between confidence and accuracy (ECE).

        ECE = sum_b n_b/n |accuracy_b - confidence_b|

    Args:
        y: Integer labels (n,).
        probabilities: Float array (n, classes), rows with sum 1.
        bins: Int >= 1.

    Returns:
        Float in [0, 1].

    Raises:
        InputError: As in `reliability`.

    Reference:
        Guo et al., 2017, https://arxiv.org/abs/1706.04599, equation (3).
    """
    table = reliability(y, probabilities, bins)
    filled = table["count"] > 0
    gaps = np.abs(table["accuracy"] - table["confidence"])[filled]
    return float(gaps @ table["count"][filled] / table["count"].sum())


def _checked(y, probabilities):
    y, probabilities = np.asarray(y), np.asarray(probabilities, "float64")
    if probabilities.ndim != 2 or y.shape != probabilities.shape[:1]:
        raise InputError(
            "`y` (n,) and `probabilities` (n, classes) must have the same n, "
            f"got shapes {y.shape} and {probabilities.shape}"
        )
    if not len(y):
        raise InputError("`y` must hold at least one label, got none")
    classes = probabilities.shape[1]
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes:
        raise InputError(
            f"`y` must be integers in 0..{classes - 1}, got {y.dtype} in "
            f"{y.min()}..{y.max()}"
        )
    sums = probabilities.sum(axis=1)
    # Comparisons with NaN are false, so this rejects NaN as well.
    if not (probabilities.min() >= 0 and np.abs(sums - 1).max() < 1e-3):
        raise InputError(
            "`probabilities` must be rows >= 0 with sum 1, got values in "
            f"{probabilities.min():g}..{probabilities.max():g} and sums in "
            f"{sums.min():g}..{sums.max():g}"
        )
    return y, probabilities
