"""Dtypes that sums and logarithms are safe in."""

import keras


def at_least_float32(dtype):
    """The dtype to compute in where half precision would not do.

    `keras.backend.result_type` does not serve: on JAX it makes float32 of
    float64.

    Args:
        dtype: Dtype or its name.

    Returns:
        Str, "float64" for float64, else "float32".
    """
    wide = keras.backend.standardize_dtype(dtype) == "float64"
    return "float64" if wide else "float32"
