"""Batch normalisation with the method's conventions and a fused kernel."""

import contextlib
import contextvars

import keras
from keras import ops

from keras_ffl.backend import (
    fused_batch_norm,
    num_replicas,
    sum_over_replicas,
)
from keras_ffl.errors import InputError
from keras_ffl.precision import at_least_float32

_DEFAULT_SYNCHRONIZED = contextvars.ContextVar("synchronized", default=False)


@contextlib.contextmanager
def synchronized_batch_norm(synchronized=True):
    """Context that sets the default of `BatchNormalization` layers.

    Args:
        synchronized: Bool, whether they use the statistics of the global
            batch.
    """
    token = _DEFAULT_SYNCHRONIZED.set(bool(synchronized))
    try:
        yield
    finally:
        _DEFAULT_SYNCHRONIZED.reset(token)


def is_synchronized(synchronized):
    """`synchronized` of a layer, whose default is that of the context."""
    if synchronized is None:
        return _DEFAULT_SYNCHRONIZED.get()
    return bool(synchronized)


@keras.saving.register_keras_serializable(package="keras_ffl")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation with PyTorch's conventions.

    It differs from `keras.layers.BatchNormalization` in three ways: the
    defaults (`momentum=0.9`, `epsilon=1e-5`), the moving variance, which
    averages the *unbiased* batch variances, and the speed: on TensorFlow,
    four-dimensional inputs in float32, float16 or bfloat16 use the fused
    kernel. Everything else (float64, other backends, other ranks) uses the
    plain form, which gives the same numbers. It ignores masks: padding counts.

    Args:
        momentum: Float in [0, 1), weight of the old moving average in an
            update.
        epsilon: Float > 0, added to the variance.
        synchronized: Bool, whether to use the statistics of the global batch
            over all replicas of a `tf.distribute` strategy in training; None
            for False, or True within `synchronized_batch_norm`. It has no
            effect on a single replica.
        **kwargs: Further arguments of `keras.layers.BatchNormalization`.
            `renorm` is not supported, and `axis` must be the last one.

    Input shape:
        Any tensor of rank >= 2 with channels last.

    Output shape:
        Same as the input.

    Raises:
        InputError: An unsupported argument of the parent class is set.

    Reference:
        Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, synchronized=None, **kwargs):
        if kwargs.get("renorm"):
            raise InputError(
                "`renorm` must be False for "
                "keras_ffl.layers.BatchNormalization, got "
                f"{kwargs['renorm']}"
            )
        if kwargs.get("axis", -1) != -1:
            raise InputError(
                f"`axis` must be -1 (channels last), got {kwargs['axis']}"
            )
        super().__init__(
            momentum=momentum,
            epsilon=epsilon,
            synchronized=is_synchronized(synchronized),
            **kwargs,
        )

    def call(self, inputs, training=None):
        kernel = self._plain
        if self._uses_fused_kernel(inputs, training):
            kernel = self._fused
        outputs, mean, variance = kernel(inputs, training)
        if training and self.trainable:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return outputs

    def _uses_fused_kernel(self, inputs, training=False):
        return (
            fused_batch_norm is not None
            and not (training and self.synchronized and num_replicas() > 1)
            and len(inputs.shape) == 4
            and self.scale
            and self.center
            and keras.backend.standardize_dtype(inputs.dtype)
            in ("float32", "float16", "bfloat16")
        )

    def _fused(self, inputs, training):
        """Returns the normalised inputs and the new moving averages."""
        return fused_batch_norm(
            inputs,
            ops.cast(self.gamma, "float32"),
            ops.cast(self.beta, "float32"),
            ops.cast(self.moving_mean, "float32"),
            ops.cast(self.moving_variance, "float32"),
            self.epsilon,
            self.momentum,
            bool(training and self.trainable),
        )

    def _plain(self, inputs, training):
        """The same as `_fused`, in elementary operations."""
        dtype = at_least_float32(inputs.dtype)
        x = ops.cast(inputs, dtype)
        new_mean = mean = ops.cast(self.moving_mean, dtype)
        new_variance = variance = ops.cast(self.moving_variance, dtype)
        if training and self.trainable:
            mean, variance, count = self._moments(x)
            unbiased = variance * (count / ops.maximum(count - 1.0, 1.0))
            new_mean = self._averaged(new_mean, mean)
            new_variance = self._averaged(new_variance, unbiased)
        outputs = ops.batch_normalization(
            x,
            mean,
            variance,
            axis=-1,
            offset=ops.cast(self.beta, dtype) if self.center else None,
            scale=ops.cast(self.gamma, dtype) if self.scale else None,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype), new_mean, new_variance

    def _averaged(self, average, value):
        return self.momentum * average + (1.0 - self.momentum) * value

    def _moments(self, x):
        """Mean and variance of each channel, and the number of values.

        They are those of the global batch if the layer is synchronised. The
        variance is computed around the mean: subtracting the squared mean from
        the mean square would cancel.
        """
        axes = tuple(range(len(x.shape) - 1))
        count = ops.cast(ops.prod(ops.stack(ops.shape(x)[:-1])), x.dtype)
        if not (self.synchronized and num_replicas() > 1):
            return *ops.moments(x, axes), count
        sums = ops.concatenate([ops.sum(x, axes), count[None]], axis=0)
        sums = sum_over_replicas(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        squares = sum_over_replicas(ops.sum(ops.square(x - mean), axes))
        return mean, squares / count, count
