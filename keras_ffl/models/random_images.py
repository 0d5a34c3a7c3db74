"""Outputs of models for random images."""

import keras
import numpy as np
from keras import ops


def random_outputs(model, states=()):
    """A model's inference outputs for random images; its state is unchanged.

    Args:
        model: Functional `keras.Model` of one image tensor.
        states: List of (variable, value), temporary values of variables.

    Returns:
        List of float64 arrays, or None if the model takes text, or if the
        image size is unknown and it rejects the one that was tried, or the
        integers that were.
    """
    image = model.inputs[0]
    if image.dtype == "string":
        return None
    batch, *sizes = image.shape
    random = np.random.default_rng(0)
    shape = [batch or 2, *(size or 128 for size in sizes)]
    images = random.normal(size=shape)
    if "int" in image.dtype:
        # Numbers of words may be small, and are seldom uint8.
        end = 256 if image.dtype == "uint8" else 2
        images = random.integers(0, end, size=shape)
    images = ops.convert_to_tensor(images.astype(image.dtype))
    try:
        # Drops assignments by batch normalisation or random layers.
        with keras.StatelessScope(states):
            outputs = model(images, training=False)
    except Exception as error:
        # Words may have other numbers than those that were tried.
        unknown = type(error).__name__ == "InvalidArgumentError"
        if None in sizes or ("int" in image.dtype and unknown):
            return None
        raise
    return [
        ops.convert_to_numpy(output).astype("float64")
        for output in keras.tree.flatten(outputs)
    ]


def alike(ours, theirs):
    """Whether arrays are equal up to rounding, even in half precision."""
    tolerance = 1e-2 * np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    return np.allclose(ours, theirs, rtol=0, atol=tolerance, equal_nan=True)


def activated(logits, activation):
    """Softmax along the last axis, or the sigmoid, of a float64 array."""
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
