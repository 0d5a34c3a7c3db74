"""Residual networks for ImageNet."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.architecture import Architecture, stages_of
from keras_ffl.models.components import (
    basic_block,
    convolution,
    normalization,
    relu,
    shortcut,
)
from keras_ffl.number_checks import is_int

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


def imagenet_resnet(depth, num_classes, input_shape=(224, 224, 3), name=None):
    """The standard ImageNet residual network ResNet-18, -34 or -50.

    A 7x7 convolution of stride 2 to 64 channels, batch normalisation, ReLU
    and a 3x3 max-pooling of stride 2, then four stages of widths 64, 128, 256
    and 512. ResNet-18 and -34 have basic blocks of two 3x3 convolutions,
    ResNet-50 bottlenecks of a 1x1, a 3x3 and a 1x1 convolution to four times
    the width. Batch normalisation follows each convolution, ReLU all but the
    last one and the sum with the shortcut. If the shape changes, the shortcut
    is a 1x1 convolution with batch normalisation. No convolution has a bias.
    All stages but the first halve height and width in their first 3x3
    convolution.

    Args:
        depth: 18, 34 or 50.
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1.
        name: Name of the model, `imagenet_resnet<depth>` by default.

    Returns:
        Functional `keras.Model` from float images (batch, height, width,
        channels) to `{"features": (batch, ceil(height / 32), ceil(width /
        32), C), "logits": (batch, m)}`, C = 512 or, for depth 50, 2048.
        Features are >= 0 and come before pooling, logits are unbounded. The
        dtype is the policy's; logits are at least float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        He et al., 2016, "Deep Residual Learning for Image Recognition",
        https://arxiv.org/abs/1512.03385, table 1, with projection shortcuts;
        the stride of a bottleneck is on its 3x3 convolution, as in the widely
        used reimplementations.
    """
    architecture = imagenet_resnet_architecture(depth)
    return architecture(num_classes, input_shape, name)


def imagenet_resnet_architecture(depth):
    """The `Architecture` of `imagenet_resnet`, with the same argument."""
    if not is_int(depth) or depth not in _STAGES:
        raise InputError(
            f"`depth` must be one of {', '.join(map(str, _STAGES))}, got "
            f"{depth!r}"
        )
    block, blocks = _STAGES[depth]
    return Architecture(
        f"imagenet_resnet{depth}", _stem, stages_of(block, WIDTHS, blocks)
    )


def _stem(x, prefix):
    x = convolution(x, WIDTHS[0], 7, 2, f"{prefix}stem_conv")
    x = relu(normalization(x, f"{prefix}stem_bn"), f"{prefix}stem_relu")
    # Zeros are equivalent to the reference's minus infinity: after a ReLU the
    # maximum is the same with either, and if a zero in the margin ties with the
    # largest pixel, no gradient would pass that ReLU anyway.
    x = keras.layers.ZeroPadding2D(
        1, data_format="channels_last", name=f"{prefix}stem_pooling_padding"
    )(x)
    return keras.layers.MaxPooling2D(
        3, strides=2, data_format="channels_last", name=f"{prefix}stem_pooling"
    )(x)


def _bottleneck(x, filters, strides, name):
    """Bottleneck of inner width `filters`, strided in its 3x3 convolution."""
    width = EXPANSION * filters
    added = shortcut(x, width, strides, name)
    x = convolution(x, filters, 1, 1, f"{name}_conv1")
    x = relu(normalization(x, f"{name}_bn1"), f"{name}_relu1")
    x = convolution(x, filters, 3, strides, f"{name}_conv2")
    x = relu(normalization(x, f"{name}_bn2"), f"{name}_relu2")
    x = convolution(x, width, 1, 1, f"{name}_conv3")
    x = normalization(x, f"{name}_bn3")
    x = keras.layers.Add(name=f"{name}_add")([x, added])
    return relu(x, f"{name}_relu3")


# The block and the number of blocks in each stage.
_STAGES = {
    18: (basic_block, (2, 2, 2, 2)),
    34: (basic_block, (3, 4, 6, 3)),
    50: (_bottleneck, (3, 4, 6, 3)),
}
