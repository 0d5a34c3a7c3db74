"""Wide residual networks for small images."""

import functools

import keras

from keras_ffl.models.architecture import Architecture, stages_of
from keras_ffl.models.checks import check_depth
from keras_ffl.models.components import convolution, normalization, relu
from keras_ffl.number_checks import check_int

STEM_WIDTH = 16


def wide_resnet(depth, width, num_classes, input_shape=(32, 32, 3), name=None):
    """Wide residual network WRN-depth-width without dropout.

    A 3x3 convolution to 16 channels, then three stages of width 16k, 32k and
    64k of pre-activation blocks (batch normalisation, ReLU and 3x3
    convolution, twice), then batch normalisation and ReLU. If the shape
    changes, the block's first batch normalisation and ReLU also feed its
    shortcut, a 1x1 convolution. No convolution has a bias. The second and
    third stage halve height and width.

    Args:
        depth: Int 6n+4, n >= 1.
        width: Int k >= 1, the widening factor.
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1.
        name: Name of the model, `wrn_<depth>_<width>` by default.

    Returns:
        Functional `keras.Model` from float images (batch, height, width,
        channels) to `{"features": (batch, ceil(height / 4), ceil(width / 4),
        64k), "logits": (batch, m)}`. Features are >= 0 and come after the
        last ReLU and before pooling, logits are unbounded. The dtype is the
        policy's; logits are at least float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Zagoruyko & Komodakis, 2016, "Wide Residual Networks",
        https://arxiv.org/abs/1605.07146.
    """
    architecture = wide_resnet_architecture(depth, width)
    return architecture(num_classes, input_shape, name)


def wide_resnet_architecture(depth, width):
    """The `Architecture` of `wide_resnet`, with the same arguments."""
    blocks = check_depth(depth, 6, 4)
    width = check_int("width", width, least=1)
    widths = [base * width for base in (16, 32, 64)]
    *first, last = stages_of(_block, widths, [blocks] * len(widths))
    stages = (*first, functools.partial(_last_stage, stage=last))
    return Architecture(f"wrn_{depth}_{width}", _stem, stages)


def _stem(x, prefix):
    return convolution(x, STEM_WIDTH, 3, 1, f"{prefix}stem_conv")


def _last_stage(x, prefix, *, stage):
    """Adds the final activation, which pre-activation blocks leave out."""
    x = normalization(stage(x, prefix), f"{prefix}final_bn")
    return relu(x, f"{prefix}final_relu")


def _block(x, filters, strides, name):
    """Pre-activation block."""
    shortcut = x
    x = relu(normalization(x, f"{name}_bn1"), f"{name}_relu1")
    if strides > 1 or x.shape[-1] != filters:
        shortcut = convolution(x, filters, 1, strides, f"{name}_shortcut_conv")
    x = convolution(x, filters, 3, strides, f"{name}_conv1")
    x = relu(normalization(x, f"{name}_bn2"), f"{name}_relu2")
    x = convolution(x, filters, 3, 1, f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])
