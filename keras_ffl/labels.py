"""Class labels: integers, one-hot rows or soft rows."""

import numpy as np

from keras_ffl.errors import InputError


def check_labels(y, num_classes, argument="y"):
    """Checks an array of labels.

    Args:
        y: Integers (n,) or (n, 1) in [0, num_classes), or one-hot or soft
            labels (n, num_classes), each row non-negative with sum 1.
        num_classes: Int, number of classes.
        argument: Name of the argument for the message.

    Raises:
        InputError: A label is outside the classes, a row is no distribution,
            or the shape or dtype is another one.
    """
    y = _as_numbers(y, argument)
    if y.ndim == 2 and y.shape[1] == num_classes and num_classes > 1:
        off = np.nonzero(
            ~((y >= 0).all(axis=1) & (np.abs(y.sum(axis=1) - 1) < 1e-3))
        )[0]
        if off.size:
            raise InputError(
                f"`{argument}`: every row must be non-negative with sum 1, "
                f"row {off[0]} is {y[off[0]].tolist()}"
            )
        return
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] != 1):
        raise InputError(
            f"`{argument}` must be integers (n,) or rows (n, {num_classes}), "
            f"got shape {y.shape}"
        )
    if not (
        np.issubdtype(y.dtype, np.integer)
        or (np.issubdtype(y.dtype, np.floating) and (y == np.floor(y)).all())
    ):
        raise InputError(
            f"`{argument}` must hold integer labels, got dtype {y.dtype}"
        )
    y = y.reshape(-1)
    outside = np.nonzero((y < 0) | (y >= num_classes))[0]
    if outside.size:
        raise InputError(
            f"`{argument}`: labels must be in 0..{num_classes - 1}, label "
            f"{y[outside[0]]} at index {outside[0]} is outside"
        )


def _as_numbers(y, argument):
    try:
        y = np.asarray(y)
    except ValueError as error:
        raise InputError(
            f"`{argument}` must be an array of labels, got rows of different "
            "lengths"
        ) from error
    if y.dtype.kind not in "iuf":
        raise InputError(
            f"`{argument}` must hold integer labels, got dtype {y.dtype}"
        )
    return y


def is_sparse(y, num_classes):
    """Whether labels are integers rather than rows over the classes.

    Args:
        y: Tensor (batch,), (batch, 1) or (batch, num_classes).
        num_classes: Int, number of classes.

    Returns:
        Bool.
    """
    shape = y.shape
    return len(shape) == 1 or (shape[-1] == 1 and num_classes > 1)
