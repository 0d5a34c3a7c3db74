"""Folds batch normalisation into the preceding layer for inference."""

import collections

import keras
import numpy as np

from keras_ffl.models.flattening import Rebuilder
from keras_ffl.models.graph import calls

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_LINEAR = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    *_DEPTHWISE,
    keras.layers.Dense,
)


def fold_batch_normalization(model):
    """Folds batch normalisation layers into the layers before them.

    In inference a batch normalisation is a factor and a summand for each
    channel. After a convolution or dense layer whose output nothing else
    uses, they become part of its kernel and bias. Everything else stays the
    same.

    Args:
        model: Functional `keras.Model` of one input and one output, with
            Keras' own batch normalisation layers.

    Returns:
        Functional `keras.Model` with weights of its own, for inference only.
    """
    normalization = _pairs(model)
    folded = {id(layer) for layer in normalization.values()}

    def linear(rebuilder, old, name, x):
        if id(old) not in normalization:
            return rebuilder.layer(old, name)(x)
        return _with_bias(old, normalization[id(old)], name, x)

    def normalized(rebuilder, old, name, x):
        return x if id(old) in folded else rebuilder.layer(old, name)(x)

    replacements = dict.fromkeys(_LINEAR, linear)
    replacements[keras.layers.BatchNormalization] = normalized
    image = keras.Input(
        model.input_shape[1:], dtype=model.input.dtype, name="image"
    )
    outputs = Rebuilder(replacements).run(model, [image])
    return keras.Model(image, outputs[0], name=model.name)


def _pairs(model):
    """The normalisations to fold, by the id of the layer before them."""
    graph = calls(model)
    uses = collections.Counter(map(id, model.outputs))
    for call in graph:
        uses.update(map(id, call.inputs))
    called = collections.Counter(id(call.layer) for call in graph)
    producers = {id(x): call.layer for call in graph for x in call.outputs}

    def is_alone(layer):
        return called[id(layer)] == 1

    pairs = {}
    for call in graph:
        if type(call.layer) is not keras.layers.BatchNormalization:
            continue
        x = call.inputs[0]  # A mask may follow.
        before = producers.get(id(x))
        if (
            type(before) in _LINEAR
            and uses[id(x)] == 1
            and is_alone(before)
            and is_alone(call.layer)
            and before.activation is keras.activations.linear
            and before.quantization_mode is None
            and getattr(before, "data_format", None) != "channels_first"
            and call.layer.axis in (-1, len(x.shape) - 1)
        ):
            pairs[id(before)] = call.layer
    return pairs


def _with_bias(old, normalization, name, x):
    """The output of a layer and the following normalisation, as one layer."""
    factor, summand = _affine(normalization)
    config = {**old.get_config(), "name": name, "use_bias": True}
    # `kernel` already includes LoRA's product.
    config.pop("lora_rank", None)
    new = type(old).from_config(config)
    outputs = new(x)
    kernel = np.float64(keras.ops.convert_to_numpy(old.kernel))
    bias = (
        np.float64(keras.ops.convert_to_numpy(old.bias))
        if old.use_bias
        else 0.0
    )
    # A depthwise kernel has its channels on two axes.
    channels = (
        kernel.shape[-2:] if type(old) in _DEPTHWISE else kernel.shape[-1:]
    )
    new.set_weights(
        [
            kernel * factor.reshape(channels),
            summand + factor * bias,
        ]
    )
    return outputs


def _affine(layer):
    """Factor and summand of each channel, float64 (channels,)."""

    def value(weight, default):
        if weight is None:
            return default
        return np.float64(keras.ops.convert_to_numpy(weight))

    variance = value(layer.moving_variance, None)
    factor = value(layer.gamma, 1.0) / np.sqrt(variance + layer.epsilon)
    mean = value(layer.moving_mean, None)
    return factor, value(layer.beta, 0.0) - mean * factor
