"""The layer of a classifier whose output its features are."""

import dataclasses
import math
import typing

import keras
from absl import logging

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import FEATURES, is_features
from keras_ffl.models.graph import (
    calls,
    leading_to,
    parameters,
    runs_its_graph,
    unrolled,
)

_GLOBAL_POOLING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
)
_AVERAGE_POOLING = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AdaptiveAveragePooling1D,
    keras.layers.AdaptiveAveragePooling2D,
)
_DROPOUT = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
)


class Features(typing.NamedTuple):
    """A tensor in a model's graph or in that of a model nested in it.

    Attributes:
        path: Names of the nested models that contain the layer that gives the
            tensor and its own name, separated by slashes.
        tensor: `keras.KerasTensor`.
    """

    path: str
    tensor: keras.KerasTensor


def find_features(model, feature_layer):
    """Finds the features of a classifier.

    Args:
        model: Functional `keras.Model` of one input and one output.
        feature_layer: Layer, name, path or None, as in `as_subnetwork`. For
            None the layer that is found is logged.

    Returns:
        `Features`.

    Raises:
        InputError: There is no such layer or several of that name, it is
            called several times, or doesn't have a single output of the shape
            of features; or nothing is found for None.
    """
    every = list(_every_call(model))

    def problem(call):
        shapes = [tuple(tensor.shape) for tensor in call.outputs]
        if len(shapes) != 1:
            return f"has {len(shapes)} outputs"
        if call.outputs[0] is model.outputs[0]:
            return "gives the model's output"
        if not is_features(shapes[0]):
            return f"gives shape {shapes[0]}"
        return None

    if feature_layer is None:
        return _pooled_features(model, every, problem)
    call = find_call(
        model,
        every,
        feature_layer,
        problem,
        f"`feature_layer` must name a layer with one output {FEATURES}",
        "; names that Keras makes differ between networks: pass the layer "
        "instead, or None for what the last pooling or flattening takes",
    )
    return Features(call.path, call.outputs[0])


def find_call(model, every, layer, problem_of, message, hint=""):
    """Finds the only call of a layer.

    Args:
        model: `keras.Model`, for its name.
        every: List of `Call`s in order of dependence.
        layer: `keras.Layer`, its path, or the end of its path after a slash,
            such as its name. A whole path takes precedence.
        problem_of: Function of a call that says what is wrong with its
            outputs, or returns None.
        message: Str, the start of the error's message.
        hint: Str, its end.

    Returns:
        `Call`.

    Raises:
        InputError: There is no such layer or several of that name, it is
            called several times, or something is wrong with its outputs. The
            message lists the last layers with which nothing is wrong.
    """
    found = [c for c in every if c.layer is layer]
    if isinstance(layer, str):
        found = [c for c in every if c.path == layer] or [
            c for c in every if c.path.endswith(f"/{layer}")
        ]
    paths = list(dict.fromkeys(call.path for call in found))
    shown = repr(getattr(layer, "name", layer))
    if not found:
        problem = f"there is no layer {shown}"
    elif len(paths) > 1:
        problem = f"{shown} is one of {', '.join(paths)}"
    elif len(found) > 1:
        problem = f"{shown} is called {len(found)} times"
    elif (wrong := problem_of(found[0])) is not None:
        problem = f"{shown} {wrong}"
    else:
        return found[0]
    raise InputError(
        f"{message}: {problem} in '{model.name}'; "
        f"{_candidates(every, problem_of)}{hint}"
    )


def _candidates(every, problem_of, most=10):
    """The paths of the last layers without a problem, in half a sentence."""
    paths = [
        call.path
        for call in reversed(every)
        if isinstance(call.layer, keras.Layer) and problem_of(call) is None
    ]
    paths = list(dict.fromkeys(paths))
    shown = ", ".join(paths[:most]) + (", ..." if len(paths) > most else "")
    return f"candidates, from the last: {shown or 'none'}"


def _every_call(model, path=""):
    """The calls in a model's graph, nested models and the calls inside them."""
    for call in calls(model):
        call = dataclasses.replace(call, path=f"{path}{call.path}")
        if runs_its_graph(call.layer):
            yield from _every_call(call.layer, f"{call.path}/")
        yield call


# ----- the features that the last pooling takes ---------------------------


def _pooled_features(model, every, problem_of):
    """The `Features` that the last pooling takes; logs their path.

    All paths from the image to the output pass this pooling, alone or together
    with others of the same features. This leaves out the pooling of a
    squeeze-and-excitation block, which only scales its input.
    """
    flat, tensors = unrolled(model)
    image, output = tensors[id(model.inputs[0])], tensors[id(model.outputs[0])]
    producers = {id(tensor): call for call in flat for tensor in call.outputs}
    pooled = [_pooled(call, producers) for call in flat]
    found = []
    for pooling, taken in zip(reversed(flat), reversed(pooled)):
        if taken is None or not is_features(taken.shape):
            continue
        before, _ = leading_to(flat, {id(taken)})
        # Otherwise it is the image, perhaps normalised.
        if not any(_has_kernel(call.layer) for call in before):
            continue
        same = [call for call, x in zip(flat, pooled) if x is taken]
        given = {id(tensor) for call in same for tensor in call.outputs}
        after, needed = leading_to(flat, {id(output)}, given)
        if id(image) not in needed and _may_be_last(pooling, after):
            found.append((pooling, taken))
    # Flattening a single position rather follows a pooling.
    found.sort(key=lambda one: _flattens(one[0]) and _positions(one[1]) == 1)
    if found:
        pooling, taken = found[0]
        features = _origins(every, flat, tensors)[id(taken)]
        logging.warning(
            "as_subnetwork: the features of '%s' are the output %s of '%s', "
            "which '%s' takes",
            model.name,
            tuple(taken.shape),
            features.path,
            pooling.path,
        )
        return features
    raise InputError(
        f"`feature_layer` must be given for '{model.name}', which has no "
        "pooling or flattening layer of maps (batch, h, w, C) or tokens, after "
        "weights, that all paths to its output pass; "
        f"{_candidates(every, problem_of)}"
    )


def _has_kernel(layer):
    return any(len(weight.shape) > 1 for weight in parameters(layer))


def _pooled(call, producers):
    """The tensor whose positions a call pools or flattens, or None."""
    layer = call.layer
    if isinstance(layer, _GLOBAL_POOLING) or _reduces_positions(call):
        return call.inputs[0]
    if not _flattens(call):
        return None
    before = producers.get(id(call.inputs[0]))
    while before is not None and isinstance(before.layer, _DROPOUT):
        before = producers.get(id(before.inputs[0]))
    if before is not None and isinstance(before.layer, _AVERAGE_POOLING):
        return before.inputs[0]
    return call.inputs[0]


def _reduces_positions(call):
    """Whether a call is a bare mean or maximum over all positions."""
    layer = call.layer
    if isinstance(layer, keras.Layer) or type(layer).__name__ not in (
        "Max",
        "Mean",
    ):
        return False
    rank = len(call.inputs[0].shape)
    axes = range(rank) if layer.axis is None else layer.axis
    return rank > 2 and {axis % rank for axis in axes} == {*range(1, rank - 1)}


def _flattens(call):
    """Whether a call makes (batch, values) of positions and channels."""
    kind = type(call.layer).__name__
    return (
        kind in ("Flatten", "Reshape")
        and len(call.inputs[0].shape) > 2
        and len(call.outputs[0].shape) == 2
    )


def _positions(features):
    """The number of positions, None if it is unknown."""
    sizes = features.shape[1:-1]
    return None if None in sizes else math.prod(sizes)


def _may_be_last(pooling, after):
    """Whether a pooling is one even without a layer with weights after it.

    Flattening may only bring logits (batch, 1, 1, classes) into shape, and a
    bare mean may be that of the logits of several networks.
    """
    return isinstance(pooling.layer, _GLOBAL_POOLING) or any(
        getattr(call.layer, "weights", ()) for call in after
    )


def _origins(every, flat, tensors):
    """Dict from the ids of an unrolled graph's tensors to `Features`."""
    inner = [call for call in every if not runs_its_graph(call.layer)]
    origins = {
        id(new): Features(call.path, old)
        for call, one in zip(inner, flat, strict=True)
        for old, new in zip(call.outputs, one.outputs)
    }
    # A nested model whose output is pooled stays nested.
    origins.update(
        (id(tensors[id(old)]), Features(call.path, old))
        for call in every
        for old in call.outputs
        if id(old) in tensors
    )
    return origins
