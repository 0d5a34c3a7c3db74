"""The dtype to compute in."""

import pytest

from keras_ffl.precision import at_least_float32


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int32", "float32"),
        ("uint8", "float32"),
    ],
)
def test_full_precision(dtype, expected):
    assert at_least_float32(dtype) == expected
