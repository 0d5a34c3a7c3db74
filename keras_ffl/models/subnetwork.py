"""Any classifier as a sub-network."""

import keras
import numpy as np

from keras_ffl.errors import InputError, first_line
from keras_ffl.layers.maps import check_features
from keras_ffl.models.components import pooled_logits
from keras_ffl.models.copying import copy_model
from keras_ffl.models.feature_layers import Features, find_features
from keras_ffl.models.frozen import FrozenClassifier, frozen
from keras_ffl.models.graph import has_graph, runs_its_graph
from keras_ffl.models.layout import check_channels_last
from keras_ffl.models.random_images import random_outputs
from keras_ffl.models.to_logits import copy_to_logits
from keras_ffl.number_checks import check_int
from keras_ffl.precision import truncates
from keras_ffl.tasks import checked_task
from keras_ffl.tasks.task import fits


def as_subnetwork(
    model,
    feature_layer=None,
    trainable=True,
    name=None,
    preprocessing=None,
    from_logits=None,
    num_classes=None,
    task=None,
):
    """Copies a network so that it returns its features and its logits.

    The copy has layers and weights of its own; `model` stays unchanged. A
    final softmax, whether an activation, a layer or an operation, is removed,
    so that the copy ends in logits. If the probabilities don't come from a
    single softmax, for example as the mean of several, the copy returns their
    logarithm, whose softmax is the same probabilities. A backbone, which gives
    features instead of classes, gets a new classifier: `num_classes`.

    The outputs of `model` and of the copy for random images are compared, to
    detect layers whose configuration is incomplete.

    Args:
        model: Functional or built Sequential `keras.Model` from one image
            tensor to one tensor (batch, m) of logits or softmax
            probabilities, m >= 2, or of the outputs of another `task`; with
            `num_classes` to one tensor of features, for example a backbone
            of keras-hub or a Keras application without its top.
        feature_layer: The layer whose output is the features, (batch, h, w,
            C), (batch, tokens, C) or (batch, C): the layer itself, its name,
            or a path into nested models, `"backbone/top_activation"`; its
            last parts suffice if they are unique. The nested models on the
            path become part of the copy's one graph. None takes the input of
            the last global pooling (or mean over all positions) or flattening
            layer that all paths to the output pass after layers with kernels,
            and logs its layer; average pooling right before flattening, also
            with dropout between them, belongs to it. With
            `num_classes`, None takes the output of `model`.
        trainable: Bool. False freezes the copy: no weight is updated and
            batch normalisation uses its moving statistics. True leaves each
            layer trainable or frozen as in `model`; `num_classes` needs it.
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
        num_classes: Int >= 2 (or >= 1 where the task takes it) for a new
            classifier on the features, global average pooling and a dense
            layer. None keeps that of `model`.
        task: `keras_ffl.tasks.Task` that says what `model` returns: logits
            (or what its activation makes of them, which is then removed), or
            outputs that are kept as they are if the task has no activation.
            None for `Classification()`.

    Returns:
        Functional `keras.Model` from the images that `model`, or the
        preprocessing, takes to `{"features": (batch, ..., C), "logits":
        (batch, m)}`, in the dtypes of the layers that they come from.

    Raises:
        InputError: `model` is not such a model, has several inputs or
            outputs, an output that `task` doesn't take, such as one of fewer
            than two classes, or a layer that can't be copied, such as a
            `Lambda` of an anonymous function; `from_logits` is missing or
            contradicts the outputs of `model`; there is no such
            `feature_layer`, it is called several times, or its output has
            another rank, unknown channels or is channels-first;
            `preprocessing` can't be called or doesn't fit `model`.

    Example:

    >>> classifier = keras.applications.MobileNetV2(weights=None)
    >>> subnetwork = as_subnetwork(classifier, "out_relu")
    >>> backbone = keras_hub.models.Backbone.from_preset("resnet_18_imagenet")
    >>> subnetwork = as_subnetwork(backbone, num_classes=100)
    """
    task = checked_task(task)
    if num_classes is None:
        source = _functional(model, task)
        features = find_features(source, feature_layer)
        image, outputs = copy_to_logits(
            source, from_logits, features=features, task=task
        )
    else:
        least = 2 if task.counts_classes else 1
        _check_new_classifier(num_classes, least, trainable, from_logits)
        image, outputs = _with_classifier(model, feature_layer, num_classes)
    outputs = dict(zip(("features", "logits"), outputs))
    subnetwork = keras.Model(image, outputs, name=name or model.name)
    check_channels_last("`model`", subnetwork, outputs["features"])
    if preprocessing is not None:
        subnetwork = preprocessed(subnetwork, preprocessing)
    if not trainable:
        subnetwork.trainable = False
    return subnetwork


def _check_new_classifier(num_classes, least, trainable, from_logits):
    check_int("num_classes", num_classes, least)
    if not trainable:
        raise InputError(
            "`trainable` must be True with `num_classes`, whose classifier is "
            "new; set `model.trainable` to False to freeze the backbone"
        )
    if from_logits is not None:
        raise InputError(
            "`from_logits` must be None with `num_classes`, whose classifier "
            f"gives logits, got {from_logits!r}"
        )


def _with_classifier(backbone, feature_layer, num_classes):
    """Copies a backbone and adds a classifier.

    Returns:
        Tuple of the copy's image and the list of its features and logits.
    """
    _check_one_to_one(backbone, "model")
    taken = backbone.inputs[0]
    image = keras.Input(batch_shape=taken.shape, dtype=taken.dtype)
    # Nested, so that its layers' names and those of the classifier don't meet,
    # and because some backbones can only be copied as a whole.
    (output,) = keras.tree.flatten(backbone(image))
    source = keras.Model(image, output, name=backbone.name)
    if feature_layer is None:
        check_features("the output of `model`", source.output.shape)
        features = Features(backbone.name, source.output)
    else:
        features = find_features(source, feature_layer)
    expected = random_outputs(source)
    copy = copy_model(source, expected=expected, features=features)
    features = copy.outputs[0]
    return copy.inputs[0], [features, pooled_logits(features, num_classes)]


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

    def tried(function, given):
        try:
            return function(given)
        # Users' layers may raise anything.
        except Exception as error:
            raise InputError(
                "`preprocessing` can't be called on what the networks take, "
                f"{image.dtype} {image.shape} ({first_line(error)}); one that "
                "takes something else must be a model with an input of its own"
            ) from error

    prepared = tried(preprocessing, image)
    if not isinstance(prepared, keras.KerasTensor) or not fits(
        prepared.shape, target.shape
    ):
        raise InputError(
            "`preprocessing` must give one tensor of the shape that "
            f"'{network.name}' takes, {target.shape}, got {prepared!r}"
        )
    prepare = keras.Model(image, prepared, name=name)
    expected = tried(random_outputs, prepare)
    if (
        truncates(prepared.dtype, target.dtype)
        and expected
        and np.any(expected[0] % 1)
    ):
        raise InputError(
            f"`preprocessing` must give whole numbers, since '{network.name}' "
            f"takes {target.dtype}, got fractions for random images"
        )
    return copy_model(prepare, None, "preprocessing", expected)


def as_teacher(
    model,
    from_logits=None,
    argument="model",
    task=None,
):
    """Makes a frozen copy of a trained classifier that returns its logits.

    Args:
        model, from_logits, task: As in `as_subnetwork`, without `num_classes`.
        argument: Name of the argument that held `model`, for messages, which
            call `from_logits` "from_logits" or "<argument>_from_logits".

    Returns:
        Functional `keras.Model`, not trainable, from the images that `model`
        takes to logits (batch, m).

    Raises:
        InputError: As in `as_subnetwork`.
    """
    source = _functional(model, task, argument)
    if isinstance(model, FrozenClassifier):
        copy = copy_model(source, argument=argument)
        image, logits = copy.inputs[0], copy.outputs[0]
    else:
        image, (logits,) = copy_to_logits(
            source, from_logits, argument, task=task
        )
    return frozen(image, logits, "teacher_network")


def _functional(model, task, argument="model"):
    """Returns `model` as a plain functional model, uncompiled, no subclass.

    Cloning a compiled model compiles the clone, which fails for a loss that
    Keras can't serialize.
    """
    _check_one_to_one(model, argument)
    if not runs_its_graph(model):
        raise InputError(
            f"`{argument}` must be a plain functional model, got "
            f"{type(model).__name__}, whose own `call` a copy would lose; put "
            "what it adds into layers of the graph"
        )
    checked_task(task).check_output(
        f"`{argument}` '{model.name}'", tuple(model.outputs[0].shape)
    )
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _check_one_to_one(model, argument):
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
