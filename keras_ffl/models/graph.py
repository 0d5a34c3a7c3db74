"""The calls that a model's graph is made of.

Keras publishes the layers of a functional model, but not how often and on
what each of them is called, nor the layers inside a layer. This is the one
module that reads the attributes which know it.
"""

import dataclasses
import inspect

import keras


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer in a graph.

    Attributes:
        layer: The `keras.Layer` (or bare Keras operation) that is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments, as `at_rest` gives them.
        inputs: List of the KerasTensors among them.
        outputs: List of the KerasTensors that it gives.
        path: Name of the layer, behind those of the nested models that it
            is reached through, with slashes between them.
    """

    layer: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list
    path: str


def has_graph(model):
    """Whether a model is functional or a Sequential that is built."""
    return isinstance(model, keras.Function) or (
        isinstance(model, keras.Sequential) and hasattr(model, "inputs")
    )


def runs_its_graph(layer):
    """Whether calling a layer does nothing but run its own graph.

    That of a model does, unless its class brings a `call` of its own; one
    that only sets the mode is a class of this package.
    """
    if not has_graph(layer):
        return False
    return _origin(layer) in ("keras", "keras_ffl")


def graph_class(model):
    """The class that a model needs to run its graph as it does.

    Args:
        model: One that `runs_its_graph`.

    Returns:
        The model's own class if its `call` is one of this package, else
        `keras.Model`.
    """
    return type(model) if _origin(model) == "keras_ffl" else keras.Model


def _origin(model):
    """The package that a model's `call` comes from."""
    owner = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return owner.__module__.split(".")[0]


def calls(model):
    """The calls in a model's own graph, those inside its layers aside.

    Args:
        model: Functional or built Sequential `keras.Model`, or a
            `keras.Function`.

    Returns:
        List of `Call`s, each behind those that it needs, input layers aside.
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


def at_rest(layer, kwargs):
    """Keyword arguments of a call that trains only if it is told to.

    Keras' random image layers draw where nobody says whether it is training,
    and put the layers after them into training mode too. Called with these
    arguments they draw where the model around them is called with
    `training=True`, and only there.

    Args:
        layer: `keras.Layer` or bare Keras operation.
        kwargs: Dict, the arguments that its call has in a graph.

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
        model: As of `calls`.
        inputs: List of KerasTensors, one for each of the model's inputs.
        run: Function `(call, args, kwargs)` that gives the outputs of a
            `Call` for other arguments than its own.

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
    """The tensors that a nested model is called on, as a list.

    Args:
        args: Positional arguments of its call.
        kwargs: Keyword arguments.
    """
    return keras.tree.flatten(args[0] if args else kwargs["inputs"])


def layer_of_two_graphs(models):
    """A layer that is called in the graphs of two models.

    Keras' files don't keep what such graphs share: they can be written, but
    not be loaded.

    Args:
        models: List of functional or built Sequential `keras.Model`s. The
            models in their graphs are looked into as well.

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
    """The calls in a model's graph with those of nested models in their place.

    A model that does more than run its graph stays one call.

    Args:
        model: As of `calls`.
        inputs: List of KerasTensors that stand for the model's inputs, by
            default its own.

    Returns:
        Tuple of a list of `Call`s, each behind those that it needs, and a
        dict from the id of a KerasTensor of the model's own graph to the one
        that stands for it in the calls. Their tensors are new ones, because a
        nested model may be called several times.
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
    """The calls that a layer makes of its own layers in one call.

    Args:
        call: `Call` of a layer whose `call` method works on KerasTensors: a
            nested model, or a layer written in layers and `keras.ops`.

    Returns:
        List of `Call`s, at the sizes of this call.
    """
    args, kwargs = keras.tree.map_structure(_detached, (call.args, call.kwargs))
    inputs = [
        leaf
        for leaf in keras.tree.flatten((args, kwargs))
        if isinstance(leaf, keras.KerasTensor)
    ]
    outputs = call.layer.call(*args, **kwargs)
    return calls(keras.Function(inputs, outputs))


def layers_within(layer):
    """All layers inside a layer, at any depth; empty for a bare operation."""
    if not isinstance(layer, keras.Layer):
        return []
    return layer._flatten_layers(include_self=False)


def parameters(layer):
    """The weights of a layer that training moves unless they are frozen.

    Args:
        layer: Built `keras.Layer` or `keras.Model`; a bare operation has
            none.

    Returns:
        List of `keras.Variable`, each once.
    """
    if not isinstance(layer, keras.Layer):
        return []
    found = {}
    for each in layer._flatten_layers(include_self=True):
        found.update((id(v), v) for v in each._trainable_variables)
    return list(found.values())


def own_layers(layer):
    """The layers that a layer holds itself, a list."""
    return list(layer._layers) if isinstance(layer, keras.Layer) else []


def own_variables(layer):
    """The variables that a layer holds itself, a list.

    Those of the layers inside it and the states of its seed generators are
    not among them.
    """
    if not isinstance(layer, keras.Layer):
        return []
    others = {id(v) for inner in own_layers(layer) for v in inner.variables}
    others.update(id(each.state) for each in seed_generators(layer))
    return [v for v in layer.variables if id(v) not in others]


def seed_generators(layer):
    """The `keras.random.SeedGenerator`s that a layer holds itself, a list."""
    if not isinstance(layer, keras.Layer):
        return []
    return list(layer._seed_generators)


def _detached(leaf):
    """A KerasTensor without the history of its graph; others as they are."""
    if isinstance(leaf, keras.KerasTensor):
        return keras.KerasTensor(leaf.shape, leaf.dtype)
    return leaf
