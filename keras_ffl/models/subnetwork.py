"""Any classifier as a sub-network."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import FEATURES, is_features
from keras_ffl.models.checks import check_classes
from keras_ffl.models.copying import copy_model
from keras_ffl.models.graph import calls, has_graph, layers_within
from keras_ffl.models.layout import check_channels_last
from keras_ffl.models.random_images import random_outputs
from keras_ffl.models.to_logits import copy_to_logits


def as_subnetwork(
    model,
    feature_layer,
    trainable=True,
    name=None,
    preprocessing=None,
    from_logits=None,
):
    """Copies a classifier so that it returns its feature map and its logits.

    The copy has layers and weights of its own; `model` stays unchanged. A
    final softmax, whether an activation, a layer or an operation, is removed,
    so that the copy ends in logits. If the probabilities don't come from a
    single softmax, for example as the mean of several, the copy returns their
    logarithm, whose softmax is the same probabilities.

    The outputs of `model` and of the copy for random images are compared, to
    detect layers whose configuration is incomplete.

    Args:
        model: Functional or built Sequential `keras.Model` from one image
            tensor to one tensor (batch, m) of logits or softmax
            probabilities, m >= 2.
        feature_layer: Name of the layer of `model` whose output is the
            features, usually the last ones before pooling: a map (batch, h,
            w, C), tokens (batch, tokens, C) or a vector (batch, C). It may be
            a nested model, but not a layer inside one.
        trainable: Bool. False freezes the copy: no weight is updated and
            batch normalisation uses its moving statistics. True leaves each
            layer trainable or frozen as in `model`.
        name: Name of the copy, by default that of `model`.
        preprocessing: None, or a Keras layer or model (which is copied too)
            or a function of these and `keras.ops`, from images to the inputs
            of `model`. A functional model has its own image shape, anything
            else gets images of the shape that `model` takes. For a Keras
            application see `application_preprocessing`. Pass random layers
            that all sub-networks share to the method instead.
        from_logits: True if `model` returns logits, False for probabilities,
            None to infer it from its graph and its outputs for random
            images.

    Returns:
        Functional `keras.Model` from the images that `model`, or the
        preprocessing, takes to `{"features": (batch, ..., C), "logits":
        (batch, m)}`, in the dtypes of the layers that they come from.

    Raises:
        InputError: `model` is not such a model, has several inputs or
            outputs, an output that is not 2-D, fewer than two classes, or a
            layer that can't be copied, such as a `Lambda` of an anonymous
            function; `from_logits` is missing or contradicts the outputs of
            `model`; there is no such `feature_layer`, it is called several
            times, it is the output of `model`, or its output has another
            shape or is channels-first;
            `preprocessing` can't be called or doesn't fit `model`.

    Example:

    >>> classifier = keras.applications.MobileNetV2(weights=None)
    >>> subnetwork = as_subnetwork(classifier, "out_relu")
    """
    source = _functional(model)
    _check_feature_layer(source, feature_layer)
    features = _outputs(source, feature_layer)[0][0]
    check_channels_last("`model`", source, features)
    source = keras.Model(
        source.input, [features, source.output], name=model.name
    )
    image, (features, logits) = copy_to_logits(source, from_logits)
    subnetwork = keras.Model(
        image, {"features": features, "logits": logits}, name=name or model.name
    )
    if preprocessing is not None:
        subnetwork = preprocessed(subnetwork, preprocessing)
    if not trainable:
        subnetwork.trainable = False
    return subnetwork


def preprocessed(network, preprocessing):
    """Adds a preprocessing to a sub-network.

    Args:
        network: Functional `keras.Model` of one input.
        preprocessing: As in `as_subnetwork`.

    Returns:
        Functional `keras.Model` from images through a copy of
        `preprocessing` to the outputs of `network`, which it nests.

    Raises:
        InputError: `preprocessing` can't be called or its result doesn't fit
            `network`.
    """
    prepare = preprocessing_model(preprocessing, network)
    inner = keras.Model(network.input, network.output, name="network")
    image = keras.Input(
        prepare.input_shape[1:], dtype=prepare.inputs[0].dtype, name="image"
    )
    return keras.Model(image, inner(prepare(image)), name=network.name)


def preprocessing_model(preprocessing, network, name="preprocessing"):
    """Copies a preprocessing as a functional model.

    Args:
        preprocessing: As in `as_subnetwork`.
        network: Functional `keras.Model` of one input that takes its result.
        name: Name of the copy.

    Returns:
        Functional `keras.Model`.

    Raises:
        InputError: As in `preprocessed`.
    """
    if not callable(preprocessing):
        raise InputError(
            "`preprocessing` must be a Keras layer, a model or a function, "
            f"got {preprocessing!r}"
        )
    target = network.inputs[0]
    taken = preprocessing.inputs[0] if has_graph(preprocessing) else target
    image = keras.Input(taken.shape[1:], dtype=taken.dtype, name="image")
    prepared = preprocessing(image)
    if not _fits(prepared, target.shape):
        raise InputError(
            "`preprocessing` must give one tensor of the shape that "
            f"'{network.name}' takes, {target.shape}, got {prepared!r}"
        )
    prepare = keras.Model(image, prepared, name=name)
    return copy_model(prepare, None, "preprocessing", random_outputs(prepare))


def _fits(tensor, shape):
    return (
        isinstance(tensor, keras.KerasTensor)
        and len(tensor.shape) == len(shape)
        and all(
            None in sizes or sizes[0] == sizes[1]
            for sizes in zip(tensor.shape, shape)
        )
    )


def as_teacher(
    model, name="teacher_network", from_logits=None, argument="model"
):
    """Makes a frozen copy of a trained classifier that returns its logits.

    Args:
        model: Functional or built Sequential `keras.Model` from one image
            tensor to one tensor (batch, m) of logits or softmax
            probabilities.
        name: Name of the copy.
        from_logits: As in `as_subnetwork`.
        argument: Name of the argument that held `model`, for messages, which
            call `from_logits` "from_logits" or "<argument>_from_logits".

    Returns:
        Functional `keras.Model`, not trainable, from the images that `model`
        takes to logits (batch, m).

    Raises:
        InputError: `model` is not such a model, has several inputs or
            outputs, an output that is not 2-D, or a layer that can't be
            copied; `from_logits` is missing or contradicts its outputs.
    """
    source = _functional(model, argument)
    if isinstance(model, FrozenClassifier):
        copy = copy_model(source, argument=argument)
        image, logits = copy.inputs[0], copy.outputs[0]
    else:
        image, (logits,) = copy_to_logits(source, from_logits, argument)
    teacher = FrozenClassifier(image, logits, name=name)
    # Keras passes `trainable` on only when it changes: a layer created frozen
    # may have created trainable layers inside.
    for layer in (teacher, *layers_within(teacher)):
        layer.trainable = False
    return teacher


@keras.saving.register_keras_serializable(package="keras_ffl")
class FrozenClassifier(keras.Model):
    """A functional model that always runs in inference mode.

    A functional model runs nested models in its own mode and overrides a
    `training=False` in their call.
    """

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def _functional(model, argument="model"):
    """Returns `model` as a plain functional model, uncompiled, no subclass.

    Cloning a compiled model compiles the clone, which fails for a loss that
    Keras can't serialize.
    """
    if not has_graph(model):
        raise InputError(
            f"`{argument}` must be a functional or a built Sequential "
            f"keras.Model, got {type(model).__name__}"
        )
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise InputError(
                f"`{argument}` must have one {kind}, '{model.name}' has "
                f"{len(tensors)}"
            )
    shape = model.outputs[0].shape
    if len(shape) != 2:
        raise InputError(
            f"`{argument}` must give (batch, classes), the output of "
            f"'{model.name}' has shape {shape}"
        )
    check_classes(f"`{argument}`", model.outputs[0])
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _outputs(model, layer_name):
    """The outputs of each call of the layer with that name."""
    return [
        call.outputs
        for call in calls(model)
        if isinstance(call.layer, keras.Layer) and call.layer.name == layer_name
    ]


def _check_feature_layer(model, feature_layer):
    """Raises `InputError` unless the layer returns a single feature map."""
    outputs = _outputs(model, feature_layer)
    if not outputs:
        problem = f"there is no layer {feature_layer!r}"
        for layer in model.layers:
            inner = {each.name for each in layers_within(layer)}
            if feature_layer in inner:
                problem = (
                    f"{feature_layer!r} is inside '{layer.name}', but must be "
                    "one of the model's own layers"
                )
    elif len(outputs) > 1:
        problem = f"{feature_layer!r} is called {len(outputs)} times"
    elif len(outputs[0]) != 1:
        problem = f"{feature_layer!r} has {len(outputs[0])} outputs"
    elif outputs[0][0] is model.outputs[0]:
        problem = f"{feature_layer!r} gives the output"
    elif not is_features(outputs[0][0].shape):
        problem = f"{feature_layer!r} gives shape {outputs[0][0].shape}"
    else:
        return
    raise InputError(
        f"`feature_layer` must name a layer with one output {FEATURES}: "
        f"{problem} in '{model.name}'; such layers, from the last: "
        f"{_candidates(model)}"
    )


def _candidates(model, most=10):
    """The names of the last layers that give features, as one string."""
    names = [
        call.layer.name
        for call in reversed(calls(model))
        if isinstance(call.layer, keras.Layer)
        and len(call.outputs) == 1
        and call.outputs[0] is not model.outputs[0]
        and is_features(call.outputs[0].shape)
    ]
    more = ", ..." if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
