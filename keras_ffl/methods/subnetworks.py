"""Combines sub-networks in one graph."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import check_features
from keras_ffl.models.endings import find_ending
from keras_ffl.models.graph import (
    calls,
    layer_of_two_graphs,
    runs_its_graph,
    unrolled,
    uses_weight,
)
from keras_ffl.models.layout import check_channels_last
from keras_ffl.models.subnetwork import preprocessing_model
from keras_ffl.precision import at_least_float32, truncates
from keras_ffl.tasks import checked_task

# Name of the nested model before all sub-networks.
_PREPROCESSING = "shared_preprocessing"


def check_subnetworks(subnetworks, minimum=2, task=None):
    """Checks that models can be trained together as sub-networks.

    Args:
        subnetworks: The user's value.
        minimum: Int, minimum number of sub-networks.
        task: `keras_ffl.tasks.Task`, None for `Classification()`.

    Raises:
        InputError: `task` is no task, there are too few models, one appears
            twice, one is not a functional model with the outputs "features"
            (`check_features` names their shapes) and "logits" (that the task
            takes, before its activation), features are channels-first, or the
            shapes of inputs or outputs differ, or the first network takes
            floats and another integers.
    """
    task = checked_task(task)
    if not isinstance(subnetworks, (list, tuple)) or len(subnetworks) < minimum:
        count = (
            f"{len(subnetworks)}"
            if isinstance(subnetworks, (list, tuple))
            else repr(subnetworks)
        )
        raise InputError(
            f"`subnetworks` must be a list of at least {minimum} models, got "
            f"{count}"
        )
    for k, network in enumerate(subnetworks, start=1):
        check_subnetwork(network, task, f"`subnetworks`: sub-network {k}")
    if len({id(n.output["logits"]) for n in subnetworks}) < len(subnetworks):
        raise InputError(
            "`subnetworks` must be different models, got one of them twice; "
            "build a separate network for each"
        )
    for what, values in (
        ("input shape", [n.input_shape[1:] for n in subnetworks]),
        ("output shape", [n.output["logits"].shape[1:] for n in subnetworks]),
    ):
        if len(set(values)) > 1:
            raise InputError(
                f"`subnetworks` must have one {what}, got "
                f"{', '.join(map(str, values))}"
            )
    dtypes = [network.input.dtype for network in subnetworks]
    # All get the image that the first one takes.
    if any(truncates(dtypes[0], dtype) for dtype in dtypes):
        raise InputError(
            "`subnetworks` must all take floats, or one that takes integers "
            f"must be the first, got {', '.join(dtypes)}"
        )


def _check_graphs(models):
    """Raises `InputError` if a file of the method could not be loaded."""
    shared = layer_of_two_graphs(models)
    if shared is not None:
        raise InputError(
            f"`subnetworks`: layer '{shared.name}' is called in two graphs, "
            "of nested models or of networks with different images, which "
            "files can't keep shared. Use one image for networks that share "
            "layers; use the outputs of a nested model's call, or copy the "
            "network with keras_ffl.as_subnetwork"
        )


def check_subnetwork(network, task=None, label="`network`"):
    """Checks a single sub-network.

    Args:
        network: Value to check.
        task: As in `check_subnetworks`.
        label: Str, what to call it in messages.

    Raises:
        InputError: As in `check_subnetworks`.
    """
    task = checked_task(task)
    outputs = getattr(network, "output", None)
    if not isinstance(outputs, dict) or set(outputs) != {"features", "logits"}:
        raise InputError(
            f"{label} must be a functional keras.Model with "
            "the outputs {'features', 'logits'} (keras_ffl.models."
            f"as_subnetwork makes one from a classifier), got {network!r}"
        )
    if not runs_its_graph(network):
        raise InputError(
            f"{label} must be a plain functional model, got "
            f"{type(network).__name__}, whose own `call` would be lost"
        )
    if not isinstance(network.input, keras.KerasTensor):
        raise InputError(
            f"{label} must take one image tensor, got the "
            f"inputs {network.input}"
        )
    task.check_output(label, tuple(outputs["logits"].shape))
    check_features(f"{label}'s 'features'", outputs["features"].shape)
    check_channels_last(label, network, outputs["features"])
    for call in unrolled(network)[0]:
        if uses_weight(call):
            raise InputError(
                f"{label}'s '{call.path}' must not use a weight of another "
                "layer, which files don't keep; "
                "keras.layers.ReversibleEmbedding ties weights"
            )
    ending = find_ending(keras.Model(network.input, outputs["logits"]))
    if task.activation and ending.activation:
        raise InputError(
            f"{label}'s 'logits' must be logits, got "
            f"probabilities: at their end {ending.what}"
        )
    _check_graphs([network])


def connect(subnetworks, preprocessing=None):
    """Connects all sub-networks to one image in one graph.

    Sub-networks that already share the image tensor (branches on a shared
    trunk) are used directly, so that the trunk runs once; others become nested
    models `subnetwork_k`.

    Args:
        subnetworks: Checked list of functional models.
        preprocessing: Preprocessing between the images and all sub-networks,
            as in `keras_ffl.as_subnetwork`, or None. A frozen copy of it
            becomes a nested model of the graph.

    Returns:
        Tuple of the image `keras.KerasTensor` and the list of the networks'
        outputs, each a dict of "features" and "logits".

    Raises:
        InputError: As in `keras_ffl.as_subnetwork`, or the sub-networks
            already have such a preprocessing, or share a layer in a way that
            would make their file unloadable.
    """
    image, networks = _connected(subnetworks)
    if preprocessing is None:
        return image, networks
    # A dict, because Keras would unwrap a list of one.
    graph = keras.Model(image, dict(enumerate(networks)), name="subnetworks")
    if prepared_image(graph) is not graph.input:
        raise InputError(
            "`preprocessing` must be None for sub-networks that already have "
            f"a common one, got {preprocessing!r}"
        )
    prepare = preprocessing_model(preprocessing, graph, _PREPROCESSING)
    prepare.trainable = False
    image = keras.Input(
        prepare.input_shape[1:], dtype=prepare.inputs[0].dtype, name="image"
    )
    # `call` instead of the model itself merges the networks' graph into this.
    return image, list(graph.call(prepare(image)).values())


def prepared_image(model):
    """The image that a graph's sub-networks receive.

    Args:
        model: Functional `keras.Model` on the result of `connect`.

    Returns:
        `keras.KerasTensor`, the output of a common preprocessing or the
        model's input.
    """
    for call in calls(model):
        if call.layer.name == _PREPROCESSING:
            return call.outputs[0]
    return model.input


def freeze_preprocessing(model):
    """Freezes the common preprocessing of a graph, if it has one.

    Args:
        model: Functional `keras.Model` on the result of `connect`.
    """
    for call in calls(model):
        if call.layer.name == _PREPROCESSING:
            call.layer.trainable = False


def _connected(subnetworks):
    """Like `connect`, without preprocessing."""
    image = subnetworks[0].input
    if all(network.input is image for network in subnetworks):
        outputs = [network.output for network in subnetworks]
        _check_graphs([keras.Model(image, outputs)])
        return image, outputs
    _check_graphs(subnetworks)
    image = keras.Input(
        subnetworks[0].input_shape[1:],
        dtype=subnetworks[0].input.dtype,
        name="image",
    )
    return image, [
        keras.Model(network.input, network.output, name=f"subnetwork_{k}")(
            image
        )
        for k, network in enumerate(subnetworks, start=1)
    ]


def logits_heads(logits):
    """Names logits and gives them one dtype, full precision in all cases.

    Args:
        logits: Dict from head to `keras.KerasTensor` (batch, classes).

    Returns:
        Dict of the same shapes, in float64 if one of them is, else float32.
    """
    # By name, "float64" comes after "float32".
    dtype = max(at_least_float32(values.dtype) for values in logits.values())
    return {
        head: keras.layers.Activation("linear", dtype=dtype, name=head)(values)
        for head, values in logits.items()
    }
