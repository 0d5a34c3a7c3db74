"""Feature Fusion Learning written in stock Keras layers."""

import keras
from keras import layers, ops


def _convolution(x, filters, size, strides=1):
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        data_format="channels_last",
        use_bias=False,
    )(x)


def _normalized(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def _basic_block(x, filters, strides):
    y = _normalized(_convolution(x, filters, 3, strides))
    y = layers.BatchNormalization()(_convolution(y, filters, 3))
    if strides > 1 or x.shape[-1] != filters:
        x = layers.BatchNormalization()(_convolution(x, filters, 1, strides))
    return layers.ReLU()(layers.Add()([x, y]))


def _wide_block(x, filters, strides):
    y = _normalized(x)
    if strides > 1 or x.shape[-1] != filters:
        x = _convolution(y, filters, 1, strides)
    y = _normalized(_convolution(y, filters, 3, strides))
    return layers.Add()([x, _convolution(y, filters, 3)])


def _stages(name):
    """A network as functions of a tensor: the stem, then the stages."""
    block, widths = _basic_block, (16, 32, 64)
    if name == "imagenet_resnet18":
        count, widths = 2, (64, 128, 256, 512)
    elif name.startswith("wrn_"):
        depth, factor = map(int, name.split("_")[1:])
        block, count = _wide_block, (depth - 4) // 6
        widths = tuple(factor * width for width in widths)
    else:
        count = (int(name.removeprefix("resnet")) - 2) // 6

    def stem(x):
        if name == "imagenet_resnet18":
            x = _normalized(_convolution(x, 64, 7, 2))
            return layers.MaxPooling2D(
                3, 2, padding="same", data_format="channels_last"
            )(x)
        x = _convolution(x, 16, 3)
        return x if block is _wide_block else _normalized(x)

    def stage(index, x):
        for number in range(count):
            x = block(x, widths[index], 2 if index and not number else 1)
        last = index == len(widths) - 1
        return _normalized(x) if last and block is _wide_block else x

    return [stem, *(lambda x, i=i: stage(i, x) for i in range(len(widths)))]


def _logits(features, classes):
    pooled = layers.GlobalAveragePooling2D(data_format="channels_last")
    return layers.Dense(classes)(pooled(features))


def _fused_map(maps, wide):
    x = layers.Concatenate()(maps)
    widths = [each.shape[-1] for each in maps]
    x = layers.DepthwiseConv2D(
        3, padding="same", data_format="channels_last", use_bias=False
    )(x)
    x = _convolution(_normalized(x), sum(widths) if wide else min(widths), 1)
    return _normalized(x)


def _divergence(teacher, student, temperature=3.0):
    teacher = ops.softmax(ops.stop_gradient(teacher) / temperature)
    student = ops.softmax(student / temperature)
    return temperature**2 * ops.mean(
        keras.losses.kl_divergence(teacher, student)
    )


class FeatureFusion(keras.Model):
    """The networks and the fused classifier, whose logits come first."""

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        """The loss of the method with the ramp-up's weight one half."""
        fused, *logits = y_pred
        ensemble = sum(logits) / len(logits)
        supervised = sum(
            ops.mean(
                keras.losses.sparse_categorical_crossentropy(
                    y, each, from_logits=True
                )
            )
            for each in y_pred
        )
        distilled = _divergence(ensemble, fused) + sum(
            _divergence(fused, each) for each in logits
        )
        return supervised + 0.5 * distilled


def build(names, separate_stages, classes, image_size):
    """Builds the model, compiled except for `jit_compile`.

    Args:
        names: List of the networks' names.
        separate_stages: Int, stages of each network; 0 for all.
        classes: Int.
        image_size: Int, side of the images.
    """
    image = keras.Input((image_size, image_size, 3))
    x, shared = image, 0
    if separate_stages:
        stages = _stages(names[0])
        shared = len(stages) - separate_stages
        for stage in stages[:shared]:
            x = stage(x)
    maps = []
    for name in names:
        features = x
        for stage in _stages(name)[shared:]:
            features = stage(features)
        maps.append(features)
    fused = _fused_map(maps, names[0].startswith("imagenet"))
    return FeatureFusion(
        image, [_logits(each, classes) for each in (fused, *maps)]
    )
