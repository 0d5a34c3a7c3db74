"""Per-sample terms of losses."""

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


def weighted_mean(values, sample_weight=None):
    """Computes the mean over the batch of optionally weighted values.

    As in Keras' losses, the sum of the weighted values is divided by the batch
    size, not by the sum of the weights.

    Args:
        values: Float tensor (batch,).
        sample_weight: Optional tensor (batch,) or (batch, 1).

    Returns:
        Scalar tensor.
    """
    if sample_weight is not None:
        weights = ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)
        values = values * weights
    # A replica may get no sample of an epoch's last batch.
    count = ops.maximum(ops.shape(values)[0], 1)
    return ops.sum(values) / ops.cast(count, values.dtype)


def with_regularization(total, losses):
    """Adds a model's regularisation losses to a loss.

    Args:
        total: Scalar tensor.
        losses: List of regularisation losses.

    Returns:
        Scalar tensor.
    """
    for loss in losses:
        total = total + ops.cast(ops.sum(loss), total.dtype)
    return total
