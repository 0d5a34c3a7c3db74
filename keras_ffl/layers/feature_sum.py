"""Layers that combine the features of several networks without weights."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import (
    common_shapes,
    of_common_shapes,
    of_one_size,
)


@keras.saving.register_keras_serializable(package="keras_ffl")
class FeatureSum(keras.layers.Layer):
    """Adds features of equal shape, as in DualNet.

    Unlike `keras.layers.Add` it never broadcasts a map of one pixel or one
    channel. Maps and tokens together first get one rank, as in
    `FusionModule`.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        List of n >= 2 tensors (batch, h, w, C), (batch, tokens, C) or
        (batch, C) of the same shape.

    Output shape:
        The same.

    Raises:
        InputError: The inputs are not a list of at least two features of
            the same shape.

    Reference:
        Hou et al., 2017, "DualNet: Learn Complementary Features for Image
        Recognition", ICCV.
    """

    def build(self, input_shape):
        name = type(self).__name__
        shapes = common_shapes(input_shape, name)
        self.common_shapes = tuple(shapes)
        if len({shape[1:] for shape in shapes}) > 1:
            raise InputError(
                f"{name} takes feature maps of one shape, got "
                f"{[shape[1:] for shape in shapes]}; FusionModule takes others"
            )

    def call(self, inputs):
        inputs = of_common_shapes(inputs, self.common_shapes)
        total, *others = of_one_size(inputs, type(self).__name__)
        for x in others:
            total = total + x
        return total

    def compute_output_shape(self, input_shape):
        return common_shapes(input_shape, type(self).__name__)[0]


@keras.saving.register_keras_serializable(package="keras_ffl")
class FeatureAverage(FeatureSum):
    """Averages features of equal shape (Table II, case B).

    Replaces `FusionModule` in the ablation without a fusion module.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        As in `FeatureSum`.

    Output shape:
        As in `FeatureSum`.

    Raises:
        InputError: As in `FeatureSum`.

    Reference:
        Kim et al., 2019, https://arxiv.org/abs/1904.09058, section IV-A.
    """

    def call(self, inputs):
        return super().call(inputs) / len(inputs)
