"""Dtypes that are safe for sums and logarithms."""

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
