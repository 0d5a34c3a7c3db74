"""Copies of models that leave the original unchanged."""

import keras

from keras_ffl.errors import InputError, first_line
from keras_ffl.models.graph import (
    calls,
    graph_class,
    layer_of_two_graphs,
    nested_inputs,
    run_again,
    runs_its_graph,
    unrolled,
    uses_weight,
)
from keras_ffl.models.layer_copies import (
    copy_values,
    make_anew,
    no_copy,
)
from keras_ffl.models.random_images import activated, alike, random_outputs


def copy_model(
    source, ending=None, argument="model", expected=None, features=None
):
    """Copies a model, with layers and weights of its own.

    The copy has the same graph and values: all variables, including those of
    LoRA and of quantised layers, what is trainable, and the state of seeded
    random generators. Unseeded generators get a new seed, so that two copies
    of a model draw different numbers. The copy shares layers and weights
    wherever the model does.

    Args:
        source: Functional `keras.Model`.
        ending: `Ending` of `source` whose `layer` loses its activation in the
            copy, or None to keep all.
        argument: Name of the argument that held the model, for messages.
        expected: The `random_outputs` of `source` to compare with those of
            the copy, or None.
        features: `Features` of `source` that the copy gives besides its
            output, or None. Models that are nested in `source` and contain
            them become part of one graph.

    Returns:
        Functional `keras.Model` to the outputs of `source`; with `features`
        to the list of these and its one output.

    Raises:
        InputError: A layer or its values can't be copied, or the copy's
            outputs differ. The message names the layer and the reason.
    """
    omitted = None if ending is None else ending.layer
    copier = _Copier(source, omitted, argument, features)
    copy = copier.model(source, path="")
    if features is not None and copier.features is None:
        raise InputError(
            f"`feature_layer` can't be {features.path!r}: it is inside a "
            "frozen classifier, which is copied as one layer"
        )
    unseeded = copy_values(copier.pairs, argument)
    if expected is not None:
        outputs = random_outputs(copy, unseeded)
        if omitted is not None:
            outputs[-1] = activated(outputs[-1], ending.activation)
        if not all(map(alike, outputs, expected)):
            raise InputError(
                f"`{argument}` can't be copied: the copy of '{source.name}' "
                "gives different outputs for the same images; some layer's "
                "`get_config` is incomplete, or a recurrent layer has a state "
                "(`reset_state` clears it)"
            )
    if features is not None:
        outputs = [copier.features, copy.output]
        copy = keras.Model(copy.input, outputs, name=copy.name)
    return copy


class _Copier:
    """Runs graphs again with a copy of each layer.

    Nested models stay nested models, unless the graphs of two models call the
    same layer: then they become part of one graph, because a file of the copy
    could not be loaded otherwise. Frozen classifiers always stay nested, since
    they do more than run their graph.

    Attributes:
        pairs: List of (layer, its copy), each after those inside it.
        features: The copy's KerasTensor of the features, or None.
    """

    def __init__(self, source, omitted, argument, features):
        self._omitted, self._argument = omitted, argument
        self._wanted = features
        self._flat = layer_of_two_graphs([source]) is not None
        self._made = {}
        self._activation_left_out = False
        self.pairs = []
        self.features = None

    def model(self, source, path=None, name=None):
        """Copies a model's graph without its values.

        Args:
            source: Functional or built Sequential `keras.Model`.
            path: "" for the model that everything else is nested in.
            name: Name of the copy, by default that of `source`.
        """
        if isinstance(source, keras.Sequential):
            old_inputs, old_outputs = source.inputs[0], source.outputs[0]
        else:
            old_inputs, old_outputs = source.input, source.output
        inputs = keras.tree.map_structure(_input_like, old_inputs)
        outputs = self._run(source, keras.tree.flatten(inputs), path)
        return graph_class(source)(
            inputs,
            keras.tree.pack_sequence_as(old_outputs, outputs),
            name=name or source.name,
        )

    def _run(self, model, inputs, path, prefix=""):
        """Runs a graph again.

        Args:
            model: Functional or built Sequential `keras.Model`.
            inputs: List of KerasTensors.
            path: Start of the paths of its calls, None in a model that stays
                nested.
            prefix: Start of the names of the copies.

        Returns:
            List of KerasTensors.
        """

        def run(call, args, kwargs):
            outputs = self._call(call, args, kwargs, path, prefix)
            if self._wanted is not None and path is not None:
                new = keras.tree.flatten(outputs)
                for old, tensor in zip(call.outputs, new, strict=True):
                    if old is self._wanted.tensor:
                        self._found(tensor)
            return outputs

        return run_again(model, inputs, run)

    def _found(self, tensor):
        if self._activation_left_out:
            raise InputError(
                "`feature_layer` must come before the activation that is "
                f"removed, got {self._wanted.path!r}"
            )
        self.features = tensor

    def _call(self, call, args, kwargs, path, prefix):
        old = call.layer
        name = f"{prefix}{old.name}"
        nested = runs_its_graph(old)
        if nested and self._opens(old, path):
            inside = path if path is None else f"{path}{old.name}/"
            taken = nested_inputs(args, kwargs)
            return self._run(old, taken, inside, f"{name}_")
        if old is self._omitted:
            self._activation_left_out = True
            if not isinstance(old, keras.Layer):
                return args[0]
            # A softmax layer takes a mask, an activation does not.
            kwargs.pop("mask", None)
        if uses_weight(call):
            raise no_copy(
                old,
                "it uses a weight of another layer, which the copy would not "
                "train; keras.layers.ReversibleEmbedding ties weights",
                self._argument,
            )
        if id(old) not in self._made:
            new = (self._nested if nested else self._layer)(old, name)
            self._made[id(old)] = new
            self.pairs.append((old, new))
        try:
            return self._made[id(old)](*args, **kwargs)
        # Users' layers may raise anything.
        except Exception as error:
            reason = f"its copy can't be called ({first_line(error)})"
            raise no_copy(old, reason, self._argument) from error

    def _opens(self, model, path):
        """Whether a nested model becomes part of the graph that calls it."""
        holds_features = (
            self._wanted is not None
            and path is not None
            and self._wanted.path.startswith(f"{path}{model.name}/")
        )
        return (self._flat or holds_features) and (
            graph_class(model) is keras.Model
        )

    def _nested(self, old, name):
        made, pairs = dict(self._made), list(self.pairs)
        try:
            return self.model(old, name=name)
        except InputError:
            self._made, self.pairs = made, pairs
            new = self._of_its_class(old, name)
            if new is None:
                raise
            return new

    def _of_its_class(self, old, name):
        """Copies a model through its own class' configuration, or returns None.

        This serves models whose layers can't be copied one by one.
        """
        layers = [call.layer for call in unrolled(old)[0]]
        is_plain = type(old).__module__.split(".")[0] == "keras"
        if is_plain or self._omitted in layers:
            return None
        try:
            new = make_anew(old, {"name": name}, self._argument)
        except InputError:
            return None
        return new if self._pair_graphs(old, new) else None

    def _pair_graphs(self, old, new):
        """Records which layers are copies of which; False if graphs differ."""
        olds, news = ([c.layer for c in calls(each)] for each in (old, new))
        if list(map(type, olds)) != list(map(type, news)):
            return False
        for one, other in zip(olds, news):
            if runs_its_graph(one) and not self._pair_graphs(one, other):
                return False
            if self._made.setdefault(id(one), other) is other:
                self.pairs.append((one, other))
        return True

    def _layer(self, old, name):
        changes = {"name": name}
        if old is self._omitted:
            if isinstance(old, keras.layers.Softmax):
                # A linear activation keeps the output's dtype.
                return keras.layers.Activation(
                    "linear", name=name, dtype=old.dtype_policy
                )
            changes["activation"] = "linear"
        return make_anew(old, changes, self._argument)


def _input_like(tensor):
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=tensor.name,
    )
