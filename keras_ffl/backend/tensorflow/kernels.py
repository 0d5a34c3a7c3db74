"""TensorFlow's own kernels for batch normalisation and SGD."""

from keras_ffl.optional import tensorflow as tf


def fused_batch_norm(
    inputs, gamma, beta, mean, variance, epsilon, momentum, training
):
    """Batch normalisation of a feature map in one operation.

    Args:
        inputs: Tensor (batch, h, w, C) in float32, float16 or bfloat16.
        gamma: float32 tensor (C,), the scale.
        beta: float32 tensor (C,), the offset.
        mean: float32 tensor (C,), the moving mean.
        variance: float32 tensor (C,), the moving variance.
        epsilon: Float > 0.
        momentum: Float, the weight of the old moving averages.
        training: Bool, whether to use the statistics of the batch.

    Returns:
        Tuple of the normalised inputs, the new moving mean and the new moving
        variance, which averages the unbiased batch variance.
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
    """The kernel of SGD with momentum, or None under a strategy.

    It takes TensorFlow's own variables, of which a strategy has copies.
    """
    return None if tf.distribute.has_strategy() else _apply_momentum


def _apply_momentum(variable, buffer, gradient, rate, momentum, nesterov):
    tf.raw_ops.ResourceApplyMomentum(
        # Keras passes the TensorFlow variables behind its own.
        var=variable.handle,
        accum=buffer.value.handle,
        lr=rate,
        grad=gradient,
        momentum=tf.constant(momentum, gradient.dtype),
        use_nesterov=nesterov,
    )
