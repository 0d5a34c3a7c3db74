"""Attention maps against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ffl.backend import gradients_of
from keras_ffl.losses import (
    attention_distance,
    attention_map,
    shifted_attention,
)


def attention(features):
    """The attention maps in NumPy."""
    flat = (features**2).mean(axis=-1).reshape(len(features), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def shifted(maps):
    """Row by row, with a sorted list."""
    rows = []
    for row in maps:
        third = sorted(row)[max(len(row) // 3, 1) - 1]
        rows.append([1 - a if a > third else a for a in row])
    return np.array(rows)


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_map_by_hand():
    # Means of squares 4, 0, 3, 0, 0, 0 with norm 5.
    x = np.zeros((1, 2, 3, 2))
    x[0, 0, 0], x[0, 0, 2] = (2, 2), (1, 5**0.5)
    found = attention_map(x.astype("float32"))
    np.testing.assert_allclose(found, [[0.8, 0, 0.6, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(
        shifted_attention(found), [[0.2, 0, 0.4, 0, 0, 0]], atol=1e-6
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 7, 3), (3, 1, 2, 4)])
def test_against_numpy(shape):
    teacher, student = features(*shape), features(*shape[:-1], 6, seed=1)
    expected = attention(teacher)
    np.testing.assert_allclose(attention_map(teacher), expected, rtol=1e-12)
    np.testing.assert_allclose(
        shifted_attention(ops.array(expected)), shifted(expected), rtol=1e-12
    )
    for shift, target in ((False, expected), (True, shifted(expected))):
        np.testing.assert_allclose(
            attention_distance(teacher, student, shift),
            ((attention(student) - target) ** 2).sum(axis=1),
            rtol=1e-12,
        )


def test_maps_and_tokens_of_one_number_of_positions():
    x = features(2, 4, 4, 3)
    found = attention_distance(x, x.reshape(2, 16, 3))
    np.testing.assert_allclose(found, [0, 0], atol=1e-12)


def test_gradients_and_zeros():
    """Features of a dead unit are all 0."""
    x, y = (ops.array(features(2, 2, 2, 3, seed=k), "float32") for k in (0, 1))
    x = x * ops.reshape(ops.array([1.0, 0.0]), (2, 1, 1, 1))
    for teacher, student, moves in ((x, y, 2), (y, x, 1)):
        (slope,) = gradients_of(
            lambda z: attention_distance(teacher, z[0], True), [student]
        )
        slope = np.abs(ops.convert_to_numpy(slope))
        assert np.isfinite(slope).all()
        assert (slope.max(axis=(1, 2, 3)) > 0).sum() == moves
        (slope,) = gradients_of(
            lambda z: attention_distance(z[0], student, True), [teacher]
        )
        assert not np.any(ops.convert_to_numpy(slope))


def test_half_precision():
    """The square of 300 has no value in float16."""
    x = ops.full((1, 2, 2, 3), 300.0, dtype="float16")
    found = attention_map(x)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, np.full((1, 4), 0.5), rtol=1e-6)
