"""The size and cost of a network."""

import math

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.graph import (
    calls,
    calls_within,
    has_graph,
    layers_within,
    parameters,
    unrolled,
)

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
COUNTED = (*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, keras.layers.Dense)


def count_parameters(model, frozen=False):
    """Counts the parameters of a model or layer.

    Args:
        model: Built `keras.Model` or `keras.Layer`. A weight that is used in
            several places counts once. Weights that no output depends on and
            statistics such as the moving averages of batch normalisation
            don't count.
        frozen: Bool, whether to count frozen parameters too, such as those of
            a teacher.

    Returns:
        Int.
    """
    weights_of = parameters if frozen else _trainable
    idle = _idle_weights(model, weights_of) if has_graph(model) else ()
    return sum(
        math.prod(weight.shape)
        for weight in weights_of(model)
        if id(weight) not in idle
    )


def _trainable(layer):
    return getattr(layer, "trainable_weights", ())


def _idle_weights(model, weights_of):
    """The ids of weights in a model's graph that no output depends on."""
    flat, tensors = unrolled(model)
    wanted = {id(tensors[id(tensor)]) for tensor in model.outputs}
    used, others = set(), set()
    for call in reversed(flat):
        needed = not wanted.isdisjoint(map(id, call.outputs))
        if needed:
            wanted.update(map(id, call.inputs))
        weights = map(id, weights_of(call.layer))
        (used if needed else others).update(weights)
    return others - used


def count_multiply_adds(model):
    """Counts the multiply-adds of one forward pass for one image.

    Counts the products in convolutions (plain, depthwise, separable) and
    dense layers, padding included, but none for biases, normalisation,
    activations, pooling and transposed convolutions. A layer counts once per
    call, including calls in nested models and composite layers.

    Args:
        model: Functional or built Sequential `keras.Model` whose images have
            a known size.

    Returns:
        Int.

    Raises:
        InputError: `model` is not such a model, or the size of its images is
            unknown.
    """
    if not has_graph(model):
        raise InputError(
            "`model` must be a functional or a built Sequential keras.Model, "
            f"got {type(model).__name__}"
        )
    return _total(calls(model))


def _total(some_calls):
    return sum(_multiply_adds(call) for call in some_calls)


def _multiply_adds(call):
    layer = call.layer
    if isinstance(layer, COUNTED):
        return _products(layer, call.outputs[0].shape[1:])
    if any(isinstance(inner, COUNTED) for inner in layers_within(layer)):
        return _total(calls_within(call))
    return 0


def _products(layer, output_shape):
    """Products of a counted layer, given its output shape without the batch."""
    if None in output_shape:
        raise InputError(
            f"`model` must have images of known size: the output of layer "
            f"'{layer.name}' is {(None, *output_shape)}"
        )
    outputs = math.prod(output_shape)
    if isinstance(layer, SEPARABLE):
        positions = outputs // layer.filters
        return positions * (
            math.prod(layer.depthwise_kernel.shape)
            + math.prod(layer.pointwise_kernel.shape)
        )
    if isinstance(layer, DEPTHWISE):
        return outputs * math.prod(layer.kernel.shape[:-2])
    return outputs * math.prod(layer.kernel.shape[:-1])
