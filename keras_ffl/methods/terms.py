"""Per-sample terms of losses."""

from keras import ops


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
