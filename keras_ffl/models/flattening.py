"""Copies models into a single graph without nested models."""

import itertools

import keras

from keras_ffl.models.frozen import FrozenClassifier
from keras_ffl.models.graph import (
    layers_within,
    nested_inputs,
    run_again,
    runs_its_graph,
)
from keras_ffl.models.layer_copies import copy_values, make_anew


def flat_copy(model):
    """Copies the part of a model that its first output needs into one graph.

    Args:
        model: Functional `keras.Model` of one input.

    Returns:
        Functional `keras.Model` from the same input to the first output, with
        layers and weights of its own. Nested models are dissolved and layers
        that don't affect the output left out.
    """
    image = keras.Input(model.input_shape[1:], name="image")
    return keras.Model(image, Rebuilder().run(model, [image])[0])


class Rebuilder:
    """Runs graphs again with new layers that get copies of the weights.

    Nested models become part of the one graph; layers of frozen classifiers,
    such as mean teachers, can be trained there. A layer that is called several
    times stays one layer. All layers compute in float32, whichever floats the
    old ones used.

    Args:
        replacements: Dict from a class to a function `(rebuilder, layer,
            name, *arguments)` that computes with other layers what a layer of
            exactly that class computes.
        names: Names that no new layer may have.
    """

    def __init__(self, replacements=None, names=()):
        self._made = {}
        self._names = set(names)
        self._replacements = replacements or {}

    def run(self, model, inputs, prefix=""):
        """Runs a model's graph on other tensors.

        Args:
            model: Functional or built Sequential `keras.Model`.
            inputs: List of `keras.KerasTensor`s, one for each of its inputs.
            prefix: Prefix of the names of the new layers.

        Returns:
            List of `keras.KerasTensor`s, its outputs.
        """

        def run(call, args, kwargs):
            name = f"{prefix}{call.layer.name}"
            if runs_its_graph(call.layer):
                taken = nested_inputs(args, kwargs)
                outputs = self.run(call.layer, taken, f"{name}_")
                if isinstance(call.layer, FrozenClassifier):
                    self._make_trainable(layers_within(call.layer))
                return outputs
            return self._call(call.layer, name, args, kwargs)

        return run_again(model, inputs, run)

    def _make_trainable(self, layers):
        for layer in layers:
            if id(layer) in self._made:
                self._made[id(layer)].trainable = True

    def _call(self, layer, name, args, kwargs):
        replace = self._replacements.get(type(layer))
        if replace is not None:
            modes = "training", "mask"
            named = [v for k, v in kwargs.items() if k not in modes]
            return replace(self, layer, name, *(args or named))
        # A mask may come with its tensor; another one was passed by hand.
        if getattr(args[0] if args else None, "_keras_mask", None) is not None:
            kwargs.pop("mask", None)
        return self.layer(layer, name)(*args, **kwargs)

    def layer(self, old, name, kind=None):
        """The new layer that replaces an old one and copies its weights.

        Args:
            old: `keras.Layer` or bare Keras operation.
            name: Name of the new layer.
            kind: Its class, by default that of `old`.

        Returns:
            Function that calls the new layer and then copies the weights.
        """
        if id(old) not in self._made:
            changes = {"name": self.unused(name)}
            if isinstance(old, keras.Layer):
                changes["dtype"] = full_precision(old)
            self._made[id(old)] = make_anew(old, changes, kind=kind)
        new = self._made[id(old)]

        def run(*args, **kwargs):
            outputs = new(*args, **kwargs)
            copy_values([(old, new)])
            return outputs

        return run

    def unused(self, name):
        """`name`, or if another new layer has it, with a number behind it."""
        numbered = (f"{name}_{k}" for k in itertools.count(1))
        while name in self._names:
            name = next(numbered)
        self._names.add(name)
        return name


def full_precision(layer):
    """The dtype policy of a layer, with float32 instead of any other float.

    Args:
        layer: `keras.Layer`.

    Returns:
        Str or `keras.DTypePolicy`.
    """
    policy = layer.dtype_policy
    if layer.compute_dtype not in ("float16", "bfloat16", "float64"):
        # The name, because layers without a `get_config` of their own (such
        # as `Identity`) can't serialize arguments that are objects.
        return policy.name if type(policy) is keras.DTypePolicy else policy
    if layer.quantization_mode:
        return f"{policy.name.partition('_from_')[0]}_from_float32"
    return "float32"
