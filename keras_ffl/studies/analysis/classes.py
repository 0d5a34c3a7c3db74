"""What becomes of the images of each class."""

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_ffl.errors import InputError


def confusion(y, predicted, num_classes):
    """How often each class is taken for which.

    Args:
        y: Integer labels (n,).
        predicted: Integers (n,), the predicted classes.
        num_classes: Int m.

    Returns:
        Integer array (m, m): in row i and column j the number of images of
        class i that are taken for class j.

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
    """The pairs of classes that are taken for each other most often.

    Args:
        counts: Integer array (m, m) as `confusion` gives it.
        number: Int, how many at most.

    Returns:
        List of tuples (class, class it is taken for, share of its images in
        [0, 1]), the largest share first, of equal ones the lower class;
        pairs that never occur are not in it.
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
    """How much more often a classifier is right than another, by class.

    Args:
        y: Integer labels (n,).
        predicted: Integers (n,), by the classifier.
        baseline: Integers (n,), by the other one.
        num_classes: Int m.

    Returns:
        Float array (m,), the difference of the shares of right answers in
        percentage points; NaN for a class without images.

    Raises:
        InputError: As `confusion`.
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
