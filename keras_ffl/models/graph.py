"""The calls that make up a model's graph.

Keras exposes the layers of a functional model, but neither how often and on
what they are called nor the layers inside a layer. Only this module reads the
private attributes with that information.
"""

import dataclasses
import inspect
import re

import keras


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer in a graph.

    Attributes:
        layer: The `keras.Layer` (or bare Keras operation) that is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments, as returned by `at_rest`.
        inputs: List of the KerasTensors among the arguments.
        outputs: List of the KerasTensors that the call returns.
        path: Names of the nested models that contain the layer and its own
            name, separated by slashes.
    """

    layer: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list
    path: str


def has_graph(model):
    """Whether a model is functional or a built Sequential."""
    return isinstance(model, keras.Function) or (
        isinstance(model, keras.Sequential) and hasattr(model, "inputs")
    )


def runs_its_graph(layer):
    """Whether calling a layer only runs its own graph.

    This is so for models unless their class defines its own `call`; this
    package has a class whose `call` merely sets the mode.
    """
    if not has_graph(layer):
        return False
    return _origin(layer) in ("keras", "keras_ffl")


def graph_class(model):
    """The class that a copy of a model needs to run its graph the same way.

    Args:
        model: Model for which `runs_its_graph` is true.

    Returns:
        The model's own class if this package defines its `call`, otherwise
        `keras.Model`.
    """
    return type(model) if _origin(model) == "keras_ffl" else keras.Model


def _origin(model):
    """The package that defines a model's `call`."""
    owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return owner.__module__.split(".")[0]


def calls(model):
    """The calls in a model's own graph, excluding those inside its layers.

    Args:
        model: Functional or built Sequential `keras.Model`, or a
            `keras.Function`.

    Returns:
        List of `Call`s in order of dependence, without input layers.
    """
    function = keras.Function(model.inputs, model.outputs)
    by_depth = sorted(function._nodes_by_depth.items(), reverse=True)
    return [
        Call(
            node.operation,
            node.arguments.args,
            at_rest(node.operation, node.arguments.kwargs),
            node.input_tensors,
            node.output_tensors,
            node.operation.name,
        )
        for _, nodes in by_depth
        for node in nodes
        if not node.is_input
    ]


def reserve_names(model):
    """Keeps Keras from naming new operations like those of a loaded graph.

    Keras counts only the names that it gave in this process, and no two
    layers or other operations of a graph may have the same.

    Args:
        model: Functional `keras.Model`.
    """
    largest = {}
    for operation in model.operations:
        found = re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", operation.name)
        kind, number = found[1], int(found[2] or 0)
        largest[kind] = max(largest.get(kind, 0), number)
    for kind, number in largest.items():
        while keras.backend.get_uid(kind) <= number:
            pass


def uses_weight(call):
    """Whether a `Call` takes a weight as an argument, as tied weights are."""
    leaves = keras.tree.flatten((call.args, call.kwargs))
    return any(isinstance(leaf, keras.Variable) for leaf in leaves)


def leading_to(flat, wanted, given=frozenset()):
    """Finds what computes some tensors of a graph from others.

    Args:
        flat: List of `Call`s in order of dependence.
        wanted: Set of the ids of the tensors to compute.
        given: Set of the ids of tensors that are known.

    Returns:
        Tuple of the list of the `Call`s needed, the last one first, and the
        set of the ids of all tensors that they and `wanted` need.
    """
    needed, found = wanted - given, []
    for call in reversed(flat):
        if not needed.isdisjoint(map(id, call.outputs)):
            found.append(call)
            needed |= set(map(id, call.inputs)) - given
    return found, needed


def at_rest(layer, kwargs):
    """Keyword arguments with which a call trains only on request.

    By default Keras' random image layers draw, and put the layers after them
    into training mode too. With these arguments they draw only when the
    enclosing model is called with `training=True`.

    Args:
        layer: `keras.Layer` or bare Keras operation.
        kwargs: Dict, the keyword arguments of its call in a graph.

    Returns:
        Dict.
    """
    training = inspect.signature(layer.call).parameters.get("training")
    if training is not None and training.default is True:
        return {**kwargs, "training": False}
    return kwargs


def run_again(model, inputs, run):
    """Runs a model's own graph on other tensors.

    Args:
        model: As in `calls`.
        inputs: List of KerasTensors, one for each of the model's inputs.
        run: Function `(call, args, kwargs)` that returns the outputs of a
            `Call` for the given arguments.

    Returns:
        List of KerasTensors, the model's outputs.
    """
    new = dict(zip(map(id, model.inputs), inputs, strict=True))
    for call in calls(model):
        args, kwargs = keras.tree.map_structure(
            lambda leaf: new.get(id(leaf), leaf), (call.args, call.kwargs)
        )
        outputs = keras.tree.flatten(run(call, args, kwargs))
        new.update(zip(map(id, call.outputs), outputs, strict=True))
    return [new[id(output)] for output in model.outputs]


def nested_inputs(args, kwargs):
    """The list of tensors that a nested model is called on.

    Args:
        args: Positional arguments of its call.
        kwargs: Keyword arguments.
    """
    return keras.tree.flatten(args[0] if args else kwargs["inputs"])


def layer_of_two_graphs(models):
    """Finds a layer that is called in the graphs of two models.

    Keras' files lose what such graphs share: they can be written, but not
    loaded.

    Args:
        models: List of functional or built Sequential `keras.Model`s. Models
            nested in their graphs are searched as well.

    Returns:
        `keras.Layer`, bare Keras operation, or None.
    """
    graphs = {}
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        for layer in {id(c.layer): c.layer for c in calls(model)}.values():
            if graphs.setdefault(id(layer), model) is not model:
                return layer
            if runs_its_graph(layer):
                waiting.append(layer)
    return None


def unrolled(model, inputs=None):
    """The calls in a model's graph, with nested models expanded.

    A model that does more than run its graph stays a single call.

    Args:
        model: As in `calls`.
        inputs: List of KerasTensors that replace the model's inputs, by
            default its own.

    Returns:
        Tuple of a list of `Call`s in order of dependence, and a dict from the
        id of a KerasTensor of the model's own graph to the one that replaces
        it in the calls. These tensors are new, because a nested model may be
        called several times.
    """
    inputs = model.inputs if inputs is None else inputs
    tensors = dict(zip(map(id, model.inputs), inputs, strict=True))
    flat = []
    for call in calls(model):
        args, kwargs = keras.tree.map_structure(
            lambda leaf: tensors.get(id(leaf), leaf), (call.args, call.kwargs)
        )
        taken = [tensors[id(tensor)] for tensor in call.inputs]
        if runs_its_graph(call.layer):
            inner, known = unrolled(call.layer, taken)
            flat += [
                dataclasses.replace(each, path=f"{call.path}/{each.path}")
                for each in inner
            ]
            outputs = [known[id(tensor)] for tensor in call.layer.outputs]
        else:
            outputs = [_detached(tensor) for tensor in call.outputs]
            flat.append(
                dataclasses.replace(
                    call,
                    args=args,
                    kwargs=kwargs,
                    inputs=taken,
                    outputs=outputs,
                )
            )
        tensors.update(zip(map(id, call.outputs), outputs, strict=True))
    return flat, tensors


def calls_within(call):
    """The calls of its own layers that a layer makes in one call.

    Args:
        call: `Call` of a nested model or of a layer that has layers.

    Returns:
        List of `Call`s for the sizes of this call, for one example.
    """
    # Some layers compute with the size of the batch, which must be known then.
    args, kwargs = keras.tree.map_structure(
        lambda leaf: _detached(leaf, batch=1), (call.args, call.kwargs)
    )
    inputs = [
        leaf
        for leaf in keras.tree.flatten((args, kwargs))
        if isinstance(leaf, keras.KerasTensor)
    ]
    try:
        outputs = call.layer.call(*args, **kwargs)
    except Exception:
        # Functions of TensorFlow or JAX take no KerasTensors.
        return _noted_calls(call, args, kwargs)
    found = calls(keras.Function(inputs, outputs))
    if any(isinstance(each.layer, keras.Layer) for each in found):
        return found
    # Wrappers such as TimeDistributed run a layer without calling it.
    return _noted_calls(call, args, kwargs)


def _noted_calls(call, args, kwargs):
    """Like `calls_within`, noted while the layer runs on traced tensors."""
    noted = []

    def noting(layer, run):
        def noted_run(*args, **kwargs):
            outputs = run(*args, **kwargs)
            given, used, made = keras.tree.map_structure(
                _shaped, (args, kwargs, outputs)
            )
            tensors = [
                leaf
                for leaf in keras.tree.flatten((given, used))
                if isinstance(leaf, keras.KerasTensor)
            ]
            made = keras.tree.flatten(made)
            path = f"{call.path}/{layer.name}"
            noted.append(Call(layer, given, used, tensors, made, path))
            return outputs

        return noted_run

    inside = own_layers(call.layer)
    try:
        for layer in inside:
            # Past Keras' tracking of attributes.
            vars(layer)["call"] = noting(layer, layer.call)
        # Not the layer's own method, which may know the shapes without a call.
        keras.Operation.compute_output_spec(call.layer, *args, **kwargs)
    finally:
        for layer in inside:
            vars(layer).pop("call", None)
    return noted


def _shaped(leaf):
    """A KerasTensor like a tensor of the backend; other values unchanged."""
    if keras.ops.is_tensor(leaf):
        return keras.KerasTensor(tuple(leaf.shape), leaf.dtype)
    return leaf


def layers_within(layer):
    """All layers inside a layer, at any depth; empty for a bare operation."""
    if not isinstance(layer, keras.Layer):
        return []
    return layer._flatten_layers(include_self=False)


def clear_losses(layer):
    """Forgets what a layer and those inside it have added to the loss."""
    layer._clear_losses()


def parameters(layer):
    """The weights of a layer that training updates unless they are fixed.

    These are the trainable ones, also if frozen, and those quantized to
    integers.

    Args:
        layer: Built `keras.Layer` or `keras.Model`; a bare operation has
            none.

    Returns:
        List of distinct `keras.Variable`s.
    """
    if not isinstance(layer, keras.Layer):
        return []
    found = {}
    for each in layer._flatten_layers(include_self=True):
        quantized = [
            v for v in each._non_trainable_variables if v.dtype == "int8"
        ]
        for v in (*each._trainable_variables, *quantized):
            found[id(v)] = v
    return list(found.values())


def frozen_of(model):
    """What is frozen inside a model.

    Layers in a layer lose their `trainable` in files, and so do single
    weights.

    Args:
        model: Built `keras.Model`.

    Returns:
        Dict of JSON values: the positions of the frozen `layers` and of the
        frozen `weights` among all that training could update.
    """
    return {
        "layers": [
            k for k, x in enumerate(layers_within(model)) if not x.trainable
        ],
        "weights": [
            k for k, v in enumerate(parameters(model)) if not v.trainable
        ],
    }


def set_frozen(model, frozen):
    """Sets what `frozen_of` returned for a model of the same layers."""
    # Each passes it on to those inside, which come later.
    for k, layer in enumerate(layers_within(model)):
        layer.trainable = k not in frozen["layers"]
    for k, variable in enumerate(parameters(model)):
        variable.trainable = k not in frozen["weights"]


def adapted_of(model):
    """What was done to layers inside a model after they were made.

    A method makes its own layers, and layers in a layer, anew from arguments
    that don't tell it.

    Args:
        model: Built `keras.Model`.

    Returns:
        List of JSON values, for each such layer its position, how it is
        quantized (or None) and by which configuration, and LoRA's rank (or
        None).
    """
    found = []
    for k, layer in enumerate(layers_within(model)):
        mode = getattr(layer, "quantization_mode", None)
        rank = getattr(layer, "lora_rank", None)
        if mode or rank:
            config = keras.saving.serialize_keras_object(
                getattr(layer, "quantization_config", None)
            )
            found.append([k, mode, config, rank])
    return found


def set_adapted(model, adapted):
    """Does what `adapted_of` returned for a model of the same layers."""
    layers = layers_within(model)
    for k, mode, config, rank in adapted:
        if mode and not layers[k].quantization_mode:
            config = keras.saving.deserialize_keras_object(config)
            layers[k].quantize(mode, config=config)
        if rank and not layers[k].lora_enabled:
            layers[k].enable_lora(rank)


def own_layers(layer):
    """The list of a layer's direct sub-layers."""
    return list(layer._layers) if isinstance(layer, keras.Layer) else []


def own_variables(layer):
    """The list of a layer's own variables.

    Excludes those of its sub-layers and the states of its seed generators.
    """
    if not isinstance(layer, keras.Layer):
        return []
    others = {id(v) for inner in own_layers(layer) for v in inner.variables}
    others.update(id(each.state) for each in seed_generators(layer))
    return [v for v in layer.variables if id(v) not in others]


def seed_generators(layer):
    """The list of a layer's own `keras.random.SeedGenerator`s."""
    if not isinstance(layer, keras.Layer):
        return []
    return list(layer._seed_generators)


def _detached(leaf, batch=None):
    """A KerasTensor without its graph's history; other values unchanged."""
    if isinstance(leaf, keras.KerasTensor):
        shape = leaf.shape if batch is None else (batch, *leaf.shape[1:])
        return keras.KerasTensor(shape, leaf.dtype)
    return leaf
