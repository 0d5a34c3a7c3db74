"""The layers that all networks are built from."""

import math

import keras

from keras_ffl.layers.batch_normalization import BatchNormalization
from keras_ffl.precision import at_least_float32


def convolution(x, filters, kernel_size, strides, name):
    """A square convolution without bias, padded equally on all sides.

    With strides, "same" padding would put the odd row and column at the
    bottom and right. Half the kernel size on each side, as in the reference
    networks, keeps the kernel centred on the pixels that the strided 1x1
    shortcut reads; without strides both are the same.

    Args:
        x: KerasTensor (batch, height, width, channels).
        filters: Int, output channels.
        kernel_size: Odd int.
        strides: Int.
        name: Name of the layer.

    Returns:
        KerasTensor (batch, ceil(height / strides), ceil(width / strides),
        filters).
    """
    padding = "same"
    if strides > 1:
        padding = "valid"
        if kernel_size > 1:
            x = keras.layers.ZeroPadding2D(
                kernel_size // 2,
                data_format="channels_last",
                name=f"{name}_padding",
            )(x)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        data_format="channels_last",
        name=name,
    )(x)


def normalization(x, name):
    """Batch normalisation with the method's constants."""
    return BatchNormalization(name=name)(x)


def relu(x, name):
    """ReLU as a named layer."""
    return keras.layers.Activation("relu", name=name)(x)


def shortcut(x, filters, strides, name):
    """The shortcut of a residual block: `x` itself if its shape fits.

    Args:
        x: KerasTensor (batch, height, width, channels), the block's input.
        filters: Int, the block's output channels.
        strides: Int, the block's strides.
        name: Name of the block.

    Returns:
        `x` or, if the shape changes, its 1x1 convolution with batch
        normalisation: KerasTensor of the shape of the block's output.
    """
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = convolution(x, filters, 1, strides, f"{name}_shortcut_conv")
    return normalization(x, f"{name}_shortcut_bn")


def basic_block(x, filters, strides, name):
    """Two 3x3 convolutions; the last activation comes after the sum.

    Args:
        x: KerasTensor (batch, height, width, channels).
        filters: Int, output channels.
        strides: Int, strides of the first convolution.
        name: Prefix of the names of the block's layers.

    Returns:
        KerasTensor (batch, ceil(height / strides), ceil(width / strides),
        filters), values >= 0.
    """
    added = shortcut(x, filters, strides, name)
    x = convolution(x, filters, 3, strides, f"{name}_conv1")
    x = relu(normalization(x, f"{name}_bn1"), f"{name}_relu1")
    x = convolution(x, filters, 3, 1, f"{name}_conv2")
    x = normalization(x, f"{name}_bn2")
    x = keras.layers.Add(name=f"{name}_add")([x, added])
    return relu(x, f"{name}_relu2")


def global_average(features, name, dtype=None):
    """The mean of features over their positions, as a layer.

    Args:
        features: KerasTensor (batch, height, width, channels), (batch,
            tokens, channels) or (batch, channels).
        name: Name of the layer.
        dtype: Its dtype policy, None for the global one.

    Returns:
        KerasTensor (batch, channels), `features` themselves if they have no
        positions.
    """
    rank = len(features.shape)
    if rank == 2:
        return features
    kind = {
        3: keras.layers.GlobalAveragePooling1D,
        4: keras.layers.GlobalAveragePooling2D,
    }[rank]
    return kind(data_format="channels_last", dtype=dtype, name=name)(features)


def pooled_logits(features, num_classes, prefix=""):
    """Global average pooling and a dense layer to logits.

    Tokens are averaged like the positions of a map; a vector is not pooled.

    Kernel and bias are drawn from uniform(-b, b), b = 1 / sqrt(channels).
    Both layers compute in float32, of float64 features in float64.

    Args:
        features: KerasTensor (batch, height, width, channels), (batch,
            tokens, channels) or (batch, channels).
        num_classes: Int, m.
        prefix: Prefix of the layer names `pooling` and `classifier`.

    Returns:
        KerasTensor (batch, m), unbounded logits.
    """
    dtype = at_least_float32(features.dtype)
    bound = 1.0 / math.sqrt(features.shape[-1])
    pooled = global_average(features, f"{prefix}pooling", dtype)
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        dtype=dtype,
        name=f"{prefix}classifier",
    )(pooled)
