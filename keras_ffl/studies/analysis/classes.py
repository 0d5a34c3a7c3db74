"""Predictions by class."""

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_ffl.errors import InputError


def confusion(y, predicted, num_classes):
    """Computes the confusion matrix.

    Args:
        y: Integer labels (n,).
        predicted: Integers (n,), the predicted classes.
        num_classes: Int m.

    Returns:
        Integer array (m, m): in row i and column j the number of images of
        class i that are predicted as class j.

    Raises:
        InputError: Shapes differ or a class is outside 0..m-1.
    """
    y, predicted = np.asarray(y), np.asarray(predicted)
    if y.shape != predicted.shape or y.ndim != 1 or not len(y):
        raise InputError(
            "`y` and `predicted` must both be of shape (n,), n >= 1, got "
            f"{y.shape} and {predicted.shape}"
        )
    for name, values in (("y", y), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise InputError(
                f"`{name}` must be in 0..{num_classes - 1}, got "
                f"{values.min()}..{values.max()}"
            )
    return confusion_matrix(y, predicted, labels=np.arange(num_classes))


def most_confused(counts, number=10):
    """Finds the pairs of classes that are confused most often.

    Args:
        counts: Integer array (m, m) from `confusion`.
        number: Int, maximum number of pairs.

    Returns:
        List of tuples (class, predicted class, fraction of the class' images
        in [0, 1]), in order of decreasing fraction, then of class; pairs that
        never occur are not included.
    """
    counts = np.asarray(counts)
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / sizes
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:number]
    pairs = (np.unravel_index(place, shares.shape) for place in order)
    return [
        (int(i), int(j), float(shares[i, j])) for i, j in pairs if shares[i, j]
    ]


def per_class_gain(y, predicted, baseline, num_classes):
    """Computes a classifier's gain in accuracy over another one by class.

    Args:
        y: Integer labels (n,).
        predicted: Integers (n,), the classifier's predictions.
        baseline: Integers (n,), the other classifier's predictions.
        num_classes: Int m.

    Returns:
        Float array (m,), the difference of the accuracies in percentage
        points; NaN for a class without images.

    Raises:
        InputError: As in `confusion`.
    """
    right = [
        np.diag(confusion(y, answers, num_classes))
        for answers in (predicted, baseline)
    ]
    sizes = np.bincount(y, minlength=num_classes)
    return np.divide(
        100.0 * (right[0] - right[1]),
        sizes,
        out=np.full(num_classes, np.nan),
        where=sizes > 0,
    )
