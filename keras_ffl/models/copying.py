"""Copies of models that leave the original as it is."""

import keras

from keras_ffl.models.graph import at_rest, layers_within


def copy_model(source, last=None):
    """A copy of a model with layers and weights of its own.

    Args:
        source: Functional `keras.Model`.
        last: Layer of `source` whose copy is to be without its softmax, or
            None.

    Returns:
        Functional `keras.Model`.
    """

    def copy(layer):
        if layer is last:
            return _linear(layer)
        return type(layer).from_config(layer.get_config())

    def call(layer, *args, **kwargs):
        # A softmax layer takes a mask, the activation in its place does not.
        if isinstance(layer, keras.layers.Activation):
            kwargs.pop("mask", None)
        return layer(*args, **at_rest(layer, kwargs))

    clone = keras.models.clone_model(
        source, clone_function=copy, call_function=call, recursive=True
    )
    copy_weights(source, clone)
    return clone


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


def copy_weights(source, target):
    """Copies all weights between two layers or models of the same structure.

    As a file would carry them, since some layers (`Normalization` for one)
    compute more state when they load, which `set_weights` does not do.

    Args:
        source: Built `keras.Layer` or `keras.Model`.
        target: Another one with the same layers inside.
    """
    pairs = zip(
        (source, *layers_within(source)),
        (target, *layers_within(target)),
        strict=True,
    )
    for old, new in pairs:
        store = {}
        old.save_own_variables(store)
        if store:
            new.load_own_variables(store)
