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
)
from keras_ffl.models.layer_copies import (
    copy_values,
    make_anew,
    no_copy,
)
from keras_ffl.models.random_images import alike, random_outputs, softmax_of


def copy_model(source, softmax=None, argument="model", expected=None):
    """Copies a model, with layers and weights of its own.

    The copy has the same graph and values: all variables, including those of
    LoRA and of quantised layers, what is trainable, and the state of seeded
    random generators. Unseeded generators get a new seed, so that two copies
    of a model draw different numbers. The copy shares layers and weights
    wherever the model does.

    Args:
        source: Functional `keras.Model`.
        softmax: Layer of `source`, or of a nested model, whose softmax the
            copy omits, or a bare softmax operation to omit. It is called once
            and makes the last output.
        argument: Name of the argument that held the model, for messages.
        expected: The `random_outputs` of `source` to compare with those of
            the copy, or None.

    Returns:
        Functional `keras.Model`.

    Raises:
        InputError: A layer or its values can't be copied, or the copy's
            outputs differ. The message names the layer and the reason.
    """
    copier = _Copier(source, softmax, argument)
    copy = copier.model(source)
    unseeded = copy_values(copier.pairs, argument)
    if expected is not None:
        outputs = random_outputs(copy, unseeded)
        if softmax is not None:
            outputs[-1] = softmax_of(outputs[-1])
        if not all(map(alike, outputs, expected)):
            raise InputError(
                f"`{argument}` can't be copied: the copy of '{source.name}' "
                "gives different outputs for the same images; some layer's "
                "`get_config` is incomplete"
            )
    return copy


class _Copier:
    """Runs graphs again with a copy of each layer.

    Nested models stay nested models, unless the graphs of two models call the
    same layer: then they become part of one graph, because a file of the copy
    could not be loaded otherwise. Frozen classifiers always stay nested, since
    they do more than run their graph.

    Attributes:
        pairs: List of (layer, its copy), each after those inside it.
    """

    def __init__(self, source, softmax, argument):
        self._softmax, self._argument = softmax, argument
        self._flat = layer_of_two_graphs([source]) is not None
        self._made = {}
        self.pairs = []

    def model(self, source):
        """Copies a model's graph without its values."""
        if isinstance(source, keras.Sequential):
            old_inputs, old_outputs = source.inputs[0], source.outputs[0]
        else:
            old_inputs, old_outputs = source.input, source.output
        inputs = keras.tree.map_structure(_input_like, old_inputs)
        outputs = self._run(source, keras.tree.flatten(inputs))
        return graph_class(source)(
            inputs,
            keras.tree.pack_sequence_as(old_outputs, outputs),
            name=source.name,
        )

    def _run(self, model, inputs, prefix=""):
        def run(call, args, kwargs):
            old = call.layer
            name = f"{prefix}{old.name}"
            nested = runs_its_graph(old)
            if nested and self._flat and graph_class(old) is keras.Model:
                return self._run(old, nested_inputs(args, kwargs), f"{name}_")
            if old is self._softmax:
                if not isinstance(old, keras.Layer):
                    return args[0]
                # A softmax layer takes a mask, an activation does not.
                kwargs.pop("mask", None)
            if id(old) not in self._made:
                new = self._nested(old) if nested else self._layer(old, name)
                self._made[id(old)] = new
                self.pairs.append((old, new))
            try:
                return self._made[id(old)](*args, **kwargs)
            # Users' layers may raise anything.
            except Exception as error:
                reason = f"its copy can't be called ({first_line(error)})"
                raise no_copy(old, reason, self._argument) from error

        return run_again(model, inputs, run)

    def _nested(self, old):
        made, pairs = dict(self._made), list(self.pairs)
        try:
            return self.model(old)
        except InputError:
            self._made, self.pairs = made, pairs
            new = self._of_its_class(old)
            if new is None:
                raise
            return new

    def _of_its_class(self, old):
        """Copies a model through its own class' configuration, or returns None.

        This serves models whose layers can't be copied one by one.
        """
        layers = [call.layer for call in unrolled(old)[0]]
        is_plain = type(old).__module__.split(".")[0] == "keras"
        if is_plain or self._softmax in layers:
            return None
        try:
            new = make_anew(old, argument=self._argument)
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
        if old is self._softmax:
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
