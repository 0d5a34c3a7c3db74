"""TensorFlow's own kernels for batch normalisation and SGD."""

from keras_ffl.optional import tensorflow as tf


def fused_batch_norm(
    inputs, gamma, beta, mean, variance, epsilon, momentum, training
):
    """Batch normalisation of a feature map in one operation.

    Args:
        inputs: Tensor (batch, h, w, C) in float32, float16 or bfloat16.
        gamma: float32 tensor (C,), as all that follow.
        beta: Offset.
        mean: Moving mean.
        variance: Moving variance.
        epsilon: Float > 0.
        momentum: Float, the share of the old moving averages that is kept.
        training: Bool, whether the statistics are those of the batch.

    Returns:
        Tuple of the normalised inputs and what the moving averages become.
        The variance in the moving average is the unbiased one.
    """
    outputs, new_mean, new_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        exponential_avg_factor=1.0 - momentum,
        is_training=training,
    )
    return outputs, new_mean, new_variance


def momentum_kernel():
    """The kernel of SGD with momentum, or None where there is none.

    It takes TensorFlow's own variables; a strategy has copies of them.
    """
    return None if tf.distribute.has_strategy() else _apply_momentum


def _apply_momentum(variable, buffer, gradient, rate, momentum, nesterov):
    tf.raw_ops.ResourceApplyMomentum(
        # Keras hands over its own variables as TensorFlow's.
        var=variable.handle,
        accum=buffer.value.handle,
        lr=rate,
        grad=gradient,
        momentum=tf.constant(momentum, gradient.dtype),
        use_nesterov=nesterov,
    )
