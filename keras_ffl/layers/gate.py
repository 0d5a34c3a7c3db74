"""The gate of ONE (Lan et al., 2018)."""

import keras
from keras import ops

from keras_ffl.layers.batch_normalization import (
    BatchNormalization,
    is_synchronized,
)
from keras_ffl.layers.maps import check_features
from keras_ffl.number_checks import check_int
from keras_ffl.precision import at_least_float32


@keras.saving.register_keras_serializable(package="keras_ffl")
class Gate(keras.layers.Layer):
    """Computes weights of branches from the features of their shared trunk.

        softmax(relu(batch_normalization(dense(mean over positions))))

    A vector has no positions and goes to the dense layer as it is.

    Kernel and bias of the dense layer are drawn from uniform(-b, b),
    b = 1 / sqrt(channels), PyTorch's default.

    Args:
        branches: Int >= 2, number of branches n.
        synchronized: Bool or None, of its batch normalisation, as in
            `BatchNormalization`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, h, w, C), (batch, tokens, C) or (batch, C).

    Output shape:
        (batch, branches): weights >= 0 with sum 1, at least float32.

    Raises:
        InputError: `branches` is not an int >= 2, or the input has another
            shape or unknown channels.

    Example:

    >>> Gate(3)(keras.ops.ones((2, 8, 8, 16))).shape
    TensorShape([2, 3])

    Reference:
        Lan et al., 2018, "Knowledge Distillation by On-the-Fly Native
        Ensemble", https://arxiv.org/abs/1806.04606, section 3.1.
    """

    def __init__(self, branches, synchronized=None, **kwargs):
        super().__init__(**kwargs)
        self.branches = check_int("branches", branches, least=2)
        self.synchronized = is_synchronized(synchronized)

    def build(self, input_shape):
        check_features("Gate: the feature map", input_shape)
        channels = input_shape[-1]
        bound = channels**-0.5
        self.dense = keras.layers.Dense(
            self.branches,
            kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
            bias_initializer=keras.initializers.RandomUniform(-bound, bound),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.normalization = BatchNormalization(
            synchronized=self.synchronized,
            dtype=self.dtype_policy,
            name="normalization",
        )
        self.dense.build((input_shape[0], channels))
        self.normalization.build((input_shape[0], self.branches))

    def call(self, inputs, training=None):
        positions = tuple(range(1, len(inputs.shape) - 1))
        if positions:
            inputs = ops.mean(inputs, axis=positions)
        x = self.dense(inputs)
        x = ops.relu(self.normalization(x, training=training))
        dtype = at_least_float32(x.dtype)
        return ops.softmax(ops.cast(x, dtype))

    def compute_output_spec(self, inputs, training=None):
        dtype = at_least_float32(self.compute_dtype)
        return keras.KerasTensor((inputs.shape[0], self.branches), dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "branches": self.branches,
            "synchronized": self.synchronized,
        }
