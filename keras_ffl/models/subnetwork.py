"""Anyone's classifier as a sub-network."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.graph import calls, has_graph, layers_within

# What may follow the classifying layer without changing its values.
_PASSING = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)
_NONLINEAR = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)


def as_subnetwork(model, feature_layer, trainable=True, name=None):
    """A copy of a classifier that gives its feature map and its logits.

    The copy has layers and weights of its own; `model` stays as it is. A
    softmax at the end, be it of the last layer or a layer itself, becomes
    linear, so that the copy ends in logits.

    Args:
        model: Functional or built Sequential `keras.Model` from one image
            tensor to one tensor (batch, m) of logits or softmax
            probabilities.
        feature_layer: Name of the layer of `model` whose output is the
            feature map, 4-D (batch, h, w, C), usually the last one before
            pooling. A nested model may be that layer, a layer inside a nested
            model may not.
        trainable: Bool. False freezes the copy: no weight is updated and
            batch normalisation uses its moving statistics. True leaves each
            layer trainable or frozen as it is in `model`.
        name: Name of the copy, by default that of `model`.

    Returns:
        Functional `keras.Model` from the images that `model` takes to
        `{"features": (batch, h, w, C), "logits": (batch, m)}`, in the dtypes
        of the layers that they come from.

    Raises:
        InputError: `model` is of another kind, has several inputs or outputs,
            an output that is not 2-D, or ends in an activation other than
            linear or softmax; there is no such `feature_layer`, it is called
            several times, or its output is not 4-D.

    Example:

    >>> classifier = keras.applications.MobileNetV2(weights=None)
    >>> subnetwork = as_subnetwork(classifier, "out_relu")
    """
    source = _functional(model)
    _check_feature_layer(source, feature_layer)
    clone = _copy(source, _classifying_layer(source))
    outputs = {
        "features": _outputs(clone, feature_layer)[0][0],
        "logits": clone.outputs[0],
    }
    subnetwork = keras.Model(clone.inputs[0], outputs, name=name or model.name)
    if not trainable:
        subnetwork.trainable = False
    return subnetwork


def as_teacher(model, name="teacher_network"):
    """A frozen copy of a trained classifier that gives its logits.

    Args:
        model: Functional or built Sequential `keras.Model` from one image
            tensor to one tensor (batch, m) of logits or softmax
            probabilities. What a bare Keras operation gives at its end, as
            that of an ensemble, is taken for logits.
        name: Name of the copy.

    Returns:
        Functional `keras.Model`, not trainable, from the images that `model`
        takes to logits (batch, m).

    Raises:
        InputError: `model` is of another kind, has several inputs or outputs,
            an output that is not 2-D, or ends in an activation other than
            linear or softmax.
    """
    source = _functional(model)
    end = calls(source)[-1].layer
    bare = not isinstance(end, keras.Layer)
    clone = _copy(source, None if bare else _classifying_layer(source))
    teacher = keras.Model(clone.inputs[0], clone.outputs[0], name=name)
    teacher.trainable = False
    return teacher


def _copy(source, last):
    """A copy with weights of its own, linear in the layer `last`."""

    def copy(layer):
        if layer is last:
            return _linear(layer)
        return type(layer).from_config(layer.get_config())

    def call(layer, *args, **kwargs):
        # A softmax layer takes a mask, the activation in its place does not.
        if isinstance(layer, keras.layers.Activation):
            kwargs.pop("mask", None)
        return layer(*args, **kwargs)

    clone = keras.models.clone_model(
        source, clone_function=copy, call_function=call, recursive=True
    )
    _copy_weights(source, clone)
    return clone


def _functional(model):
    """`model` as a plain functional model, neither compiled nor a subclass.

    Cloning compiles the clone of a compiled model, which fails for a loss
    that Keras can't serialize.
    """
    if not has_graph(model):
        raise InputError(
            "`model` must be a functional or a built Sequential keras.Model, "
            f"got {type(model).__name__}"
        )
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise InputError(
                f"`model` must have one {kind}, '{model.name}' has "
                f"{len(tensors)}"
            )
    shape = model.outputs[0].shape
    if len(shape) != 2:
        raise InputError(
            f"`model` must give (batch, classes), the output of "
            f"'{model.name}' has shape {shape}"
        )
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _outputs(model, layer_name):
    """The outputs of each call of the layer of that name."""
    return [
        call.outputs
        for call in calls(model)
        if isinstance(call.layer, keras.Layer) and call.layer.name == layer_name
    ]


def _check_feature_layer(model, feature_layer):
    """An InputError where the layer does not give one feature map."""
    outputs = _outputs(model, feature_layer)
    if not outputs:
        problem = f"there is no layer {feature_layer!r}"
        for layer in model.layers:
            inner = {each.name for each in layers_within(layer)}
            if feature_layer in inner:
                problem = (
                    f"{feature_layer!r} lies inside '{layer.name}', only the "
                    "model's own layers will do"
                )
    elif len(outputs) > 1:
        problem = f"{feature_layer!r} is called {len(outputs)} times"
    elif len(outputs[0]) != 1:
        problem = f"{feature_layer!r} has {len(outputs[0])} outputs"
    elif len(outputs[0][0].shape) != 4:
        problem = f"{feature_layer!r} gives shape {outputs[0][0].shape}"
    else:
        return
    raise InputError(
        "`feature_layer` must name a layer with one 4-D output: "
        f"{problem} in '{model.name}'; layers with a 4-D output, from the "
        f"last: {_candidates(model)}"
    )


def _candidates(model, most=10):
    """The names of the last layers with a 4-D output, as one string."""
    names = [
        call.layer.name
        for call in reversed(calls(model))
        if isinstance(call.layer, keras.Layer)
        and len(call.outputs) == 1
        and len(call.outputs[0].shape) == 4
    ]
    more = ", ..." if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def _classifying_layer(model):
    """The layer that makes the output; it is linear or ends in a softmax."""
    producers = {
        id(tensor): call for call in calls(model) for tensor in call.outputs
    }
    call = producers.get(id(model.outputs[0]))
    while call and _passes(call.layer):
        call = producers.get(id(call.inputs[0]))
    if call is None:
        problem = "nothing classifies"
    elif _is_softmax(call.layer):
        problem = None
    else:
        problem = _no_logits(call.layer)
    if problem:
        raise InputError(
            "`model` must end in logits or in a softmax layer: at the end of "
            f"'{model.name}' {problem}"
        )
    return call.layer


def _passes(layer):
    # A cast between layers of two dtypes is an operation that Keras inserts.
    return (
        isinstance(layer, _PASSING)
        or (isinstance(layer, keras.layers.Activation) and _is_linear(layer))
        or type(layer).__name__ == "Cast"
    )


def _is_linear(layer):
    return layer.activation is keras.activations.linear


def _is_softmax(layer):
    return isinstance(layer, keras.layers.Softmax) or (
        getattr(layer, "activation", None) is keras.activations.softmax
    )


def _no_logits(layer):
    """Why the output of a layer can't be taken for logits, or None."""
    if not isinstance(layer, keras.Layer):
        return f"stands the bare operation '{layer.name}'"
    if isinstance(layer, keras.Model):
        return f"stands the nested model '{layer.name}'"
    if isinstance(layer, _NONLINEAR):
        return f"stands the activation layer '{layer.name}'"
    if hasattr(layer, "activation") and not _is_linear(layer):
        activation = getattr(layer.activation, "__name__", layer.activation)
        return f"stands layer '{layer.name}' with activation {activation}"
    return None


def _linear(layer):
    """A new layer like `layer`, without its softmax."""
    if isinstance(layer, keras.layers.Softmax):
        # An activation, not nothing: it keeps the dtype of the output.
        return keras.layers.Activation(
            "linear", name=layer.name, dtype=layer.dtype_policy
        )
    config = layer.get_config()
    if hasattr(layer, "activation"):
        config["activation"] = "linear"
    return type(layer).from_config(config)


def _copy_weights(source, target):
    """Copies all weights between two models of the same structure.

    As a file would carry them, since some layers (`Normalization` for one)
    compute more state when they load, which `set_weights` does not do.
    """
    pairs = zip(layers_within(source), layers_within(target), strict=True)
    for old, new in pairs:
        store = {}
        old.save_own_variables(store)
        if store:
            new.load_own_variables(store)
