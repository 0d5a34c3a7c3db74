"""Similarity of networks: of their maps, features and predictions."""

import itertools

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.studies.analysis.threads import one_blas_thread


def map_correlation(maps, others):
    """Computes the Pearson correlation of two heat maps of each image.

    Args:
        maps: Float array (n, h, w).
        others: Float array of the same shape.

    Returns:
        float64 array (n,) in [-1, 1]; NaN if one of the maps is constant (for
        example a Grad-CAM map of zeros), where correlation is undefined.

    Raises:
        InputError: The shapes differ or aren't (n, h, w).
    """
    maps, others = (np.asarray(each, "float64") for each in (maps, others))
    if maps.shape != others.shape or maps.ndim != 3:
        raise InputError(
            "`maps` and `others` must both be of shape (n, h, w), got "
            f"{maps.shape} and {others.shape}"
        )
    one, two = (
        each - each.mean(axis=(1, 2), keepdims=True) for each in (maps, others)
    )
    # Rounding noise of a constant map isn't a pattern.
    flat = [
        np.abs(rest).max(axis=(1, 2), initial=0)
        <= 1e-12 * np.abs(each).max(axis=(1, 2), initial=0)
        for rest, each in ((one, maps), (two, others))
    ]
    norms = np.sqrt((one**2).sum(axis=(1, 2)) * (two**2).sum(axis=(1, 2)))
    products = (one * two).sum(axis=(1, 2))
    defined = ~(flat[0] | flat[1]) & (norms > 0)
    return np.divide(
        products, norms, out=np.full(len(maps), np.nan), where=defined
    ).clip(-1, 1)


def linear_cka(features, others):
    """Computes the linear centred kernel alignment of two sets of features.

        CKA = |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|)   (Frobenius norms)

    with the mean over the images subtracted from every column of X and Y. It
    is invariant to rotation, permutation and overall scaling of features, so
    it can compare networks with unrelated channels.

    Args:
        features: Float array (n, ...), n >= 2. All axes but the first are
            flattened, so each position and channel of feature maps
            (n, h, w, C) or tokens (n, tokens, C) is a feature, and each
            number of a vector (n, C).
        others: Float array (n, ...) for the same images.

    Returns:
        Float in [0, 1]; NaN if features don't vary over the images.

    Raises:
        InputError: The numbers of images differ or are less than two.

    Reference:
        Kornblith et al., 2019, "Similarity of Neural Network Representations
        Revisited", https://arxiv.org/abs/1905.00414, section 3.
    """
    x, y = (np.asarray(each, "float64") for each in (features, others))
    if x.ndim < 1 or len(x) < 2 or y.ndim < 1 or len(x) != len(y):
        raise InputError(
            "`features` and `others` must be for the same two or more images, "
            f"got shapes {x.shape} and {y.shape}"
        )
    x, y = (_centred(each.reshape(len(each), -1)) for each in (x, y))
    with one_blas_thread():
        return _cka_of_centred(x, y)


def _centred(x):
    centred = x - x.mean(axis=0)
    # Rounding noise of a constant isn't a pattern.
    flat = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(x).max(axis=0)
    centred[:, flat] = 0
    return centred


def _cka_of_centred(x, y):
    if len(x) < max(x.shape[1], y.shape[1]):
        # The same result from the smaller inner products of images.
        x, y = x @ x.T, y @ y.T
        shared = (x * y).sum()
        own = np.linalg.norm(x) * np.linalg.norm(y)
    else:
        shared = np.linalg.norm(y.T @ x) ** 2
        own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.clip(shared / own, 0, 1)) if own > 0 else float("nan")


def agreement(predicted, others):
    """Computes the fraction of images with the same prediction.

    Args:
        predicted: Integers (n,), classes.
        others: Integers (n,).

    Returns:
        Float in [0, 1].

    Raises:
        InputError: The numbers of images differ or are zero.
    """
    predicted, others = np.asarray(predicted), np.asarray(others)
    if predicted.shape != others.shape or predicted.ndim != 1:
        raise InputError(
            "`predicted` and `others` must both be of shape (n,), got "
            f"{predicted.shape} and {others.shape}"
        )
    if not len(predicted):
        raise InputError("`predicted` must hold at least one class, got none")
    return float(np.mean(predicted == others))


def pairwise(measure, values):
    """Applies a measure to all pairs.

    Args:
        measure: Symmetric function from two values to a number.
        values: Dict from name to value.

    Returns:
        Dict from a pair of different names, in the order of `values`, to the
        measure.
    """
    return {
        (one, two): measure(values[one], values[two])
        for one, two in itertools.combinations(values, 2)
    }
