"""What models give for random images."""

import keras
import numpy as np
from keras import ops


def random_outputs(model, states=()):
    """What a model gives in inference for random images; it stays as it is.

    Args:
        model: Functional `keras.Model` of one image tensor.
        states: List of (variable, value): the values that variables have
            for once.

    Returns:
        List of float64 arrays, or None where the image's size is unknown and
        the model doesn't take the one that was tried.
    """
    image = model.inputs[0]
    batch, *sizes = image.shape
    random = np.random.default_rng(0)
    shape = [batch or 2, *(size or 128 for size in sizes)]
    images = random.normal(size=shape)
    if "int" in image.dtype:
        images = random.integers(0, 256, size=shape)
    images = ops.convert_to_tensor(images.astype(image.dtype))
    try:
        # What batch normalisation or a random layer would assign is dropped.
        with keras.StatelessScope(states):
            outputs = model(images, training=False)
    except Exception:
        if None in sizes:
            return None
        raise
    return [
        ops.convert_to_numpy(output).astype("float64")
        for output in keras.tree.flatten(outputs)
    ]


def alike(ours, theirs):
    """Whether arrays are equal but for rounding, in half precision too."""
    tolerance = 1e-2 * np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    return np.allclose(ours, theirs, rtol=0, atol=tolerance, equal_nan=True)


def softmax_of(logits):
    """Softmax of a float64 array along its last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
