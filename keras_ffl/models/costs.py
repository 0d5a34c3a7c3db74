"""The size and cost of a network."""

import math

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.graph import (
    calls,
    calls_within,
    has_graph,
    layers_within,
    leading_to,
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
DENSE = (keras.layers.Dense, keras.layers.EinsumDense)
ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# The projections of an attention layer that run once per query.
_OF_QUERIES = ("query", "gate", "attention_output")
COUNTED = (*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *DENSE)


def count_parameters(model, frozen=False):
    """Counts the parameters of a model or layer.

    Args:
        model: Built `keras.Model` or `keras.Layer`. A weight that is used in
            several places counts once. Weights that no output depends on and
            statistics such as the moving averages of batch normalisation
            don't count. Of weights quantized to int4, which Keras packs, the
            stored bytes count.
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

    def ids(calls):
        return {id(w) for call in calls for w in weights_of(call.layer)}

    return ids(flat) - ids(leading_to(flat, wanted)[0])


def count_multiply_adds(model):
    """Counts the multiply-adds of one forward pass for one image.

    Counts the products in convolutions (plain, depthwise, separable), dense
    layers, and multi-head and group-query attention (projections, scores,
    weighted sums), padding included, and nothing else: none for biases,
    normalisation, activations, pooling, transposed convolutions, recurrent and
    other attention layers, and bare operations. A layer counts once per call,
    including calls in nested models and composite layers.

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
    if isinstance(layer, ATTENTION):
        return _products_of_attention(call)
    if isinstance(layer, keras.layers.EinsumDense):
        return _products_of_einsum(layer, call.inputs[0].shape[1:])
    if isinstance(layer, COUNTED):
        return _products(layer, call.outputs[0].shape[1:])
    if any(isinstance(inner, COUNTED) for inner in layers_within(layer)):
        return _total(calls_within(call))
    return 0


def _size(layer, shape, what):
    """The number of a tensor's values, given its shape without the batch."""
    if None in shape:
        raise InputError(
            f"`model` must have images of known size: the {what} of layer "
            f"'{layer.name}' is {(None, *shape)}"
        )
    return math.prod(shape)


def _products_of_attention(call):
    """Products of projections, scores and weighted sums."""
    layer = call.layer
    given = [*call.args, *(call.kwargs.get(x) for x in ("query", "value"))]
    query, value = [x for x in given if x is not None][:2]
    queries = _size(layer, query.shape[1:-1], "query")
    values = _size(layer, value.shape[1:-1], "value")
    kernels = {
        each.name: each.kernel.shape
        for each in layers_within(layer)
        if isinstance(each, keras.layers.EinsumDense)
    }
    projections = sum(
        math.prod(shape) * (queries if name in _OF_QUERIES else values)
        for name, shape in kernels.items()
    )
    scores = math.prod(kernels["query"][1:])
    sums = kernels["query"][1] * kernels["value"][-1]
    axes = layer.get_config().get("attention_axes")
    if axes is not None:
        values = math.prod(value.shape[axis] for axis in axes)
    return projections + queries * values * (scores + sums)


def _products_of_einsum(layer, input_shape):
    taken, kernel = layer.equation.partition("->")[0].split(",")
    added = [
        size
        for label, size in zip(kernel, layer.kernel.shape)
        if label not in taken
    ]
    return _size(layer, input_shape, "input") * math.prod(added)


def _products(layer, output_shape):
    """Products of a counted layer, given its output shape without the batch."""
    outputs = _size(layer, output_shape, "output")
    if isinstance(layer, SEPARABLE):
        positions = outputs // layer.filters
        return positions * (
            math.prod(layer.depthwise_kernel.shape)
            + math.prod(layer.pointwise_kernel.shape)
        )
    if isinstance(layer, DEPTHWISE):
        return outputs * math.prod(layer.kernel.shape[:-2])
    return outputs * math.prod(layer.kernel.shape[:-1])
