"""Values without their gradient."""

import keras
from keras import ops


class StopGradient(keras.layers.Layer):
    """Returns its input, a tensor of any shape, without a gradient to it.

    Unlike `keras.ops.stop_gradient` it keeps the input's mask.
    """

    def __init__(self):
        super().__init__(autocast=False)
        self.supports_masking = True

    def call(self, inputs):
        return ops.stop_gradient(inputs)
