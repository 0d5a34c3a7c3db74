"""Residual networks for small images."""

from keras_ffl.errors import InputError
from keras_ffl.models.architecture import Architecture, stages_of
from keras_ffl.models.checks import check_depth
from keras_ffl.models.components import (
    basic_block,
    convolution,
    normalization,
    relu,
)
from keras_ffl.number_checks import is_int

WIDTHS = (16, 32, 64)


def resnet(
    depth,
    num_classes,
    input_shape=(32, 32, 3),
    blocks_per_stage=None,
    name=None,
):
    """Residual network with basic blocks and widths 16, 32 and 64.

    A 3x3 stem, then three stages of blocks of two 3x3 convolutions, each
    followed by batch normalisation, with ReLU after the first and after the
    sum with the shortcut. If the shape changes, the shortcut is a 1x1
    convolution with batch normalisation. No convolution has a bias. The
    second and third stage halve height and width.

    Args:
        depth: Int 6n+2, n >= 1, the number of layers with weights, excluding
            shortcuts. None if `blocks_per_stage` is given.
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1.
        blocks_per_stage: Int >= 1, or three of them, one per stage, instead
            of `depth`.
        name: Name of the model, `resnet<depth>` by default (with unequal
            stages `resnet_<n1>_<n2>_<n3>`).

    Returns:
        Functional `keras.Model` from float images (batch, height, width,
        channels) to `{"features": (batch, ceil(height / 4), ceil(width / 4),
        64), "logits": (batch, m)}`. Features are >= 0 and come before
        pooling, logits are unbounded. The dtype is the policy's; logits are
        at least float32.

    Raises:
        InputError: An argument is out of range, or not exactly one of
            `depth` and `blocks_per_stage` is given.

    Reference:
        He et al., 2016, "Deep Residual Learning for Image Recognition",
        https://arxiv.org/abs/1512.03385, section 4.2, with projection
        shortcuts.
    """
    architecture = resnet_architecture(depth, blocks_per_stage)
    return architecture(num_classes, input_shape, name)


def resnet_architecture(depth=None, blocks_per_stage=None):
    """The `Architecture` of `resnet`, with the same arguments."""
    blocks = _blocks(depth, blocks_per_stage)
    size = str(6 * blocks[0] + 2)
    if len(set(blocks)) > 1:
        size = "".join(f"_{count}" for count in blocks)
    return Architecture(
        f"resnet{size}", _stem, stages_of(basic_block, WIDTHS, blocks)
    )


def _blocks(depth, blocks_per_stage):
    """The blocks of each stage, from one of the two arguments."""
    if (depth is None) == (blocks_per_stage is None):
        raise InputError(
            "give either `depth` or `blocks_per_stage` (and None for the "
            f"other), got depth={depth!r} and "
            f"blocks_per_stage={blocks_per_stage!r}"
        )
    if blocks_per_stage is None:
        return (check_depth(depth, 6, 2),) * len(WIDTHS)
    blocks = blocks_per_stage
    if is_int(blocks):
        blocks = (blocks,) * len(WIDTHS)
    if (
        not isinstance(blocks, (tuple, list))
        or len(blocks) != len(WIDTHS)
        or not all(is_int(count) and count >= 1 for count in blocks)
    ):
        raise InputError(
            f"`blocks_per_stage` must be an int >= 1 or {len(WIDTHS)} of "
            f"them, got {blocks_per_stage!r}"
        )
    return tuple(int(count) for count in blocks)


def _stem(x, prefix):
    x = convolution(x, WIDTHS[0], 3, 1, f"{prefix}stem_conv")
    return relu(normalization(x, f"{prefix}stem_bn"), f"{prefix}stem_relu")
