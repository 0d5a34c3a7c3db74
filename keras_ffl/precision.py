"""Dtypes that keep numbers: in sums, logarithms, and between networks."""

import keras


def at_least_float32(dtype):
    """The dtype for computations that need more than half precision.

    `keras.backend.result_type` isn't suitable: on JAX it turns float64 into
    float32.

    Args:
        dtype: Dtype or its name.

    Returns:
        Str, "float64" for float64, otherwise "float32".
    """
    wide = keras.backend.standardize_dtype(dtype) == "float64"
    return "float64" if wide else "float32"


def truncates(given, taken):
    """Whether an input would cut off the fractions of what it is given.

    Args:
        given: Dtype of a tensor.
        taken: Dtype of the input, to which Keras casts the tensor.

    Returns:
        Bool.
    """
    return keras.backend.is_float_dtype(given) and keras.backend.is_int_dtype(
        taken
    )
