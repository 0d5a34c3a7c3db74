"""Class labels: integers, one-hot rows or soft rows."""

import reprlib

import keras
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
        InputError: A label is outside the classes, a row isn't a distribution,
            or the shape or dtype is wrong.
    """
    y = as_array(y, argument)
    check_kind(y, num_classes, argument)
    if num_classes > 1 and not is_sparse(y, num_classes):
        sums = y.sum(axis=1, dtype="float64")
        near = np.abs(sums - 1) < tolerance(y.dtype)
        off = np.nonzero(~((y >= 0).all(axis=1) & near))[0]
        if off.size:
            row = reprlib.repr(y[off[0]].tolist())  # at most six of it
            raise InputError(
                f"`{argument}`: every row must be non-negative with sum 1, "
                f"row {off[0]} is {row}"
            )
        return
    if not (y == np.floor(y)).all():
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


def classes_of(y):
    """The classes of labels, of a row that of its largest value.

    Args:
        y: Array (n,), (n, 1) or (n, num_classes), as in `check_labels`.

    Returns:
        Array (n,); `y` itself if it has that shape.
    """
    if np.ndim(y) == 1:
        return y
    return np.argmax(y, axis=1) if y.shape[1] > 1 else y[:, 0]


def check_kind(y, num_classes, argument="y"):
    """Checks the type, rank and width of labels, but not their values.

    Args:
        y: Array, tensor or its specification, such as `keras.KerasTensor`.
        num_classes: Int, number of classes.
        argument: Name of the argument for the message.

    Raises:
        InputError: They are neither integers nor rows over the classes.
    """
    dtype = dtype_name(y.dtype)
    if not dtype.startswith(("int", "uint", "float", "bfloat")):
        raise InputError(
            f"`{argument}` must hold integer labels, got dtype {dtype}"
        )
    shape = shape_of_labels(y, argument)
    if not (
        len(shape) == 1
        or (len(shape) == 2 and shape[1] in (1, num_classes, None))
    ):
        raise InputError(
            f"`{argument}` must be integers (n,) or rows (n, {num_classes}), "
            f"got shape {shape}"
        )


def as_array(y, argument):
    """Labels as an array, `InputError` if their rows have several lengths."""
    try:
        return np.asarray(y)
    except ValueError as error:
        raise InputError(
            f"`{argument}` must be an array of labels, got rows of different "
            "lengths"
        ) from error


def shape_of_labels(y, argument):
    """The shape as a tuple, `InputError` if the rank is unknown."""
    shape = known_shape(y)
    if shape is None:
        # After calls with several ranks TensorFlow traces steps without one.
        raise InputError(
            f"`{argument}` must have a known rank, the same in all calls "
            "until compile() is called again, got an unknown one"
        )
    return shape


def known_shape(tensor):
    """The shape of a tensor as a tuple, None if its rank is unknown."""
    try:
        return tuple(tensor.shape)
    except ValueError:
        # A tf.TensorShape without a rank.
        return None


def dtype_name(dtype):
    """The name of a dtype of NumPy or any backend, a str."""
    try:
        return keras.backend.standardize_dtype(dtype)
    except ValueError:
        return str(dtype)


def tolerance(dtype):
    """How much the sum of a soft label may differ from 1, a float."""
    return 1e-2 if dtype_name(dtype) in ("float16", "bfloat16") else 1e-3


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
