"""The fusion module."""

import math

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.layers.batch_normalization import (
    BatchNormalization,
    is_synchronized,
)
from keras_ffl.layers.maps import (
    common_shapes,
    of_common_shapes,
    of_one_size,
)
from keras_ffl.number_checks import check_int, is_int

# Channels of the fused map, computed from those of the maps.
_WIDTHS = {"min": min, "sum": sum}


def _convolution(filters, kernel_size, **kwargs):
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        data_format="channels_last",
        **kwargs,
    )


@keras.saving.register_keras_serializable(package="keras_ffl")
class FusionModule(keras.layers.Layer):
    """Fuses the feature maps of the sub-networks into one (section III-A).

    Concatenates the maps along their channels (M = sum of C_k), then applies a
    depthwise convolution with one filter per channel, batch normalisation,
    ReLU, a pointwise convolution to `filters` channels, batch normalisation
    and ReLU. No convolution has a bias.

    Tokens (batch, tokens, C) and vectors (batch, C) are fused in the same way:
    the depthwise convolution runs over the tokens, and for vectors it is a
    factor for each channel. Its initial values are drawn from normal(0,
    sqrt(2 / (k M))), with k elements of a channel's kernel: `kernel_size`
    squared for maps, `kernel_size` for tokens and 1 for vectors, whose factor
    is what a 3x3 convolution does to a map of one position: all other
    elements meet padding. Where maps and tokens are fused, the tokens become
    maps if their number is a square, otherwise the maps become tokens
    (`keras_ffl.layers.maps.common_shapes` says why).

    Maps of different height or width are first reduced to the smallest height
    and width among them: with a 3x3 "same" convolution whose stride is the
    ratio of the sizes, rounded up, or, if that misses the size, with a "valid"
    convolution of stride 1 whose kernel fills the gap. Both keep the channels,
    and batch normalisation and ReLU follow. The paper only says "a simple
    convolution", like the regressor of FitNets. Different numbers of tokens
    are brought together likewise.

    Args:
        filters: Channels N of the fused features: an int >= 1, "min" (or None)
            for the smallest channel count of the maps (the paper's choice on
            CIFAR), or "sum" for their sum (its choice on ImageNet).
        kernel_size: Int >= 1, kernel size of the depthwise convolution over
            maps or tokens.
        synchronized: Bool or None, of its batch normalisations, as in
            `BatchNormalization`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        List of n >= 2 tensors (batch, h_k, w_k, C_k) or (batch, tokens_k,
        C_k), or of vectors (batch, C_k). Sizes that differ, and those of
        maps and tokens together, must be known when the layer is built.

    Output shape:
        (batch, min h_k, min w_k, filters), (batch, min tokens_k, filters) or
        (batch, filters).

    Raises:
        InputError: `filters` is neither a positive int nor "min", "sum" or
            None, `kernel_size` is not a positive int, the inputs are not a
            list of at least two features, vectors are beside others, or
            features whose sizes were unknown when the layer was built turn
            out to differ in size.

    Example:

    >>> maps = [keras.ops.ones((2, 8, 8, 64)), keras.ops.ones((2, 8, 8, 32))]
    >>> FusionModule()(maps).shape
    TensorShape([2, 8, 8, 32])

    Reference:
        Kim et al., 2019, "Feature Fusion for Online Mutual Knowledge
        Distillation", https://arxiv.org/abs/1904.09058, figure 2.
    """

    def __init__(
        self, filters=None, kernel_size=3, synchronized=None, **kwargs
    ):
        super().__init__(**kwargs)
        if filters not in (None, *_WIDTHS) and not (
            is_int(filters) and filters >= 1
        ):
            raise InputError(
                "`filters` must be an int >= 1, "
                f"{', '.join(map(repr, _WIDTHS))} or None, got {filters!r}"
            )
        self.filters = int(filters) if is_int(filters) else filters
        self.kernel_size = check_int("kernel_size", kernel_size, least=1)
        self.synchronized = is_synchronized(synchronized)

    def build(self, input_shape):
        shapes = common_shapes(input_shape, "FusionModule")
        self.common_shapes = tuple(shapes)
        # Tokens are maps of width 1, vectors maps of one position.
        self._new_axes = tuple(range(len(shapes[0]) - 1, 3))
        size = self._as_map((None, *self._smallest_size(shapes), 1))[1:3]
        shapes = [self._as_map(shape) for shape in shapes]
        policy = self.dtype_policy
        self.adaptations = [
            self._adaptation(position, shape, size)
            for position, shape in enumerate(shapes, start=1)
        ]
        channels = sum(shape[-1] for shape in shapes)
        kernel = self._kernel(self.kernel_size)
        # The public code initialises the depthwise kernel like the other
        # convolutions, with M output channels; Keras' fan_out would be 9.
        self.depthwise = keras.layers.DepthwiseConv2D(
            kernel,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.RandomNormal(
                stddev=math.sqrt(2.0 / (math.prod(kernel) * channels))
            ),
            data_format="channels_last",
            dtype=policy,
            name="depthwise",
        )
        self.depthwise_bn = BatchNormalization(
            synchronized=self.synchronized, dtype=policy, name="depthwise_bn"
        )
        self.pointwise = _convolution(
            self._output_filters(shapes), 1, dtype=policy, name="pointwise"
        )
        self.pointwise_bn = BatchNormalization(
            synchronized=self.synchronized, dtype=policy, name="pointwise_bn"
        )
        for adaptation, shape in zip(self.adaptations, shapes):
            for layer in adaptation:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        shape = (shapes[0][0], *size, channels)
        self.depthwise.build(shape)
        self.depthwise_bn.build(shape)
        self.pointwise.build(shape)
        self.pointwise_bn.build((*shape[:-1], self._output_filters(shapes)))

    def _as_map(self, shape):
        return (*shape[:-1], *(1 for _ in self._new_axes), shape[-1])

    def _kernel(self, side):
        """The kernel size of a convolution over all axes but the new ones."""
        return tuple(1 if axis in self._new_axes else side for axis in (1, 2))

    def _output_filters(self, shapes):
        width = _WIDTHS.get(self.filters or "min")
        return width(shape[-1] for shape in shapes) if width else self.filters

    def _smallest_size(self, shapes):
        sizes = {shape[1:-1] for shape in shapes}
        if len(sizes) == 1:
            return sizes.pop()
        if any(None in size for size in sizes):
            raise InputError(
                "FusionModule: feature maps of different or unknown sizes "
                "need known heights and widths (or numbers of tokens), got "
                f"{sorted(map(str, sizes))}"
            )
        return tuple(map(min, *sizes))

    def _adaptation(self, position, shape, size):
        """Layers that reduce a map of `shape` to `size`, none if it has it."""
        if shape[1:3] == size:
            return []
        strides = tuple(
            math.ceil(old / new) for old, new in zip(shape[1:3], size)
        )
        reached = tuple(
            math.ceil(old / stride) for old, stride in zip(shape[1:3], strides)
        )
        if reached == size:
            arguments = dict(
                kernel_size=self._kernel(3), strides=strides, padding="same"
            )
        else:
            kernel = tuple(old - new + 1 for old, new in zip(shape[1:3], size))
            arguments = dict(kernel_size=kernel, padding="valid")
        return [
            _convolution(
                shape[-1],
                dtype=self.dtype_policy,
                name=f"adaptation_{position}",
                **arguments,
            ),
            BatchNormalization(
                synchronized=self.synchronized,
                dtype=self.dtype_policy,
                name=f"adaptation_{position}_bn",
            ),
        ]

    def call(self, inputs, training=None):
        maps, axes = [], self._new_axes
        inputs = of_common_shapes(inputs, self.common_shapes)
        for x, adaptation in zip(inputs, self.adaptations):
            x = ops.expand_dims(x, axes) if axes else x
            if adaptation:
                convolution, normalization = adaptation
                x = normalization(convolution(x), training=training)
                x = ops.relu(x)
            maps.append(x)
        maps = of_one_size(maps, "FusionModule", len(self.common_shapes[0]))
        x = ops.concatenate(maps, axis=-1)
        x = self.depthwise_bn(self.depthwise(x), training=training)
        x = self.pointwise(ops.relu(x))
        x = ops.relu(self.pointwise_bn(x, training=training))
        return ops.squeeze(x, axes) if axes else x

    def compute_output_shape(self, input_shape):
        shapes = common_shapes(input_shape, "FusionModule")
        return (
            shapes[0][0],
            *self._smallest_size(shapes),
            self._output_filters(shapes),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "synchronized": self.synchronized,
        }
