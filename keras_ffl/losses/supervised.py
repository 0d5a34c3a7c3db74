"""Losses of predictions against labels, by sample."""

import keras
from keras import ops

from keras_ffl.labels import is_sparse


def cross_entropy(y, logits):
    """Computes the cross-entropy of every sample.

    Args:
        y: Integer labels (batch,) or (batch, 1), or one-hot or soft labels
            (batch, classes).
        logits: Float tensor (batch, classes).

    Returns:
        Float tensor (batch,).

    Reference:
        Equation (2) of Kim et al., 2019, https://arxiv.org/abs/1904.09058.
    """
    if is_sparse(y, logits.shape[-1]):
        y = ops.reshape(y, (-1,))
        return keras.losses.sparse_categorical_crossentropy(
            y, logits, from_logits=True
        )
    return keras.losses.categorical_crossentropy(y, logits, from_logits=True)
