"""Makes new layers from old ones and copies their values."""

import keras
from keras import ops

from keras_ffl.errors import InputError, first_line
from keras_ffl.models.graph import (
    layers_within,
    own_layers,
    own_variables,
    runs_its_graph,
    seed_generators,
)

_LOOKUPS = keras.layers.StringLookup, keras.layers.IntegerLookup


def make_anew(old, changes=None, argument="model", kind=None):
    """Makes a new layer from the configuration of another one.

    Args:
        old: `keras.Layer` or bare Keras operation.
        changes: Dict of changes to the configuration, or None.
        argument: Name of the argument that held the layer, for messages.
        kind: Class of the new layer, by default that of `old`.

    Returns:
        `keras.Layer` or bare Keras operation.

    Raises:
        InputError: No layer can be made from the configuration.
    """
    try:
        # As in a file: the configuration itself may hold objects, which both
        # layers would then share.
        config = keras.saving.serialize_keras_object(old)["config"]
        new = (kind or type(old)).from_config({**config, **(changes or {})})
        _copy_vocabularies(old, new)
        return new
    # Users' layers may raise anything.
    except Exception as error:
        raise no_copy(old, _reason(old, error), argument) from error


def _copy_vocabularies(old, new):
    """Copies the words that lookups, also inner ones, have been adapted to.

    A layer has to know them before it is called: its output may be as wide.
    """
    inside = zip(layers_within(old), layers_within(new))
    for one, other in ((old, new), *inside):
        if isinstance(one, _LOOKUPS) and one.input_vocabulary is None:
            words = one.get_vocabulary()
            if one.get_vocabulary(include_special_tokens=False):
                idf = None
                if one.output_mode == "tf_idf":
                    idf = one.idf_weights_const.numpy()[: len(words)]
                other.set_vocabulary(words, idf)


def _reason(layer, error):
    if type(layer) is keras.layers.Lambda:
        return (
            "its function can't be saved; use keras.ops, a layer class with "
            "`get_config`, or a function registered with "
            "keras.saving.register_keras_serializable instead"
        )
    if isinstance(layer, keras.layers.TFSMLayer):
        return (
            "it loads a SavedModel, which Keras only does after "
            "keras.config.enable_unsafe_deserialization()"
        )
    return f"its configuration makes no new layer ({first_line(error)})"


def no_copy(layer, reason, argument):
    """The error for a layer that can't be copied.

    Args:
        layer: `keras.Layer` or bare Keras operation.
        reason: Str.
        argument: Name of the argument that held the layer.

    Returns:
        `InputError`.
    """
    return InputError(
        f"`{argument}` can't be copied because of {type(layer).__name__} "
        f"'{layer.name}': {reason}"
    )


def copy_values(pairs, argument="model"):
    """Copies values and trainability from old layers to new ones.

    Args:
        pairs: List of (old, new), built layers of the same structure or bare
            Keras operations, each after those inside it.
        argument: Name of the argument that held the layers, for messages.

    Returns:
        List of (new, old) states of the unseeded random generators, which keep
        their own states.

    Raises:
        InputError: Layers differ in structure or in what they share.
    """
    matched = {}
    for old, new in pairs:
        if runs_its_graph(old):
            matched[id(old)] = old, new
        elif isinstance(old, keras.Layer):
            _match(old, new, matched, argument)
    # Outer layers first, since setting them sets those inside.
    for old, new in reversed(matched.values()):
        new.trainable = old.trainable
    # Variables that a model has besides its graph's play no role.
    matched = [each for each in matched.values() if not runs_its_graph(each[0])]
    # As through a file: some layers (such as `Normalization`) compute further
    # state when they load. Others (with LoRA) don't save everything.
    for old, new in matched:
        if getattr(old, "lora_enabled", False):
            # Not every layer's configuration passes it on.
            new.lora_alpha = old.lora_alpha
        store = {}
        old.save_own_variables(store)
        try:
            if store:
                new.load_own_variables(store)
        except Exception as error:
            reason = f"its copy rejects its weights ({first_line(error)})"
            raise no_copy(old, reason, argument) from error
    shared, unseeded = {}, []
    for old, new in matched:
        for one, other in _variables(old, new, argument):
            if other is one or shared.setdefault(id(one), other) is not other:
                reason = "its copy would share weights differently"
                raise no_copy(old, reason, argument)
            # A copy, because JAX lets a step overwrite its arrays.
            other.assign(ops.copy(one))
            other.trainable = one.trainable
        for one, other in zip(seed_generators(old), seed_generators(new)):
            if one.get_config()["seed"] is None:
                unseeded.append((other.state, one.state))
            else:
                other.state.assign(ops.copy(one.state))
    return unseeded


def _match(old, new, matched, argument):
    """Pairs two layers, after those inside them."""
    if id(old) in matched:
        if matched[id(old)][1] is not new and old.variables:
            raise no_copy(
                old, "a layer that shares it would get its own", argument
            )
        return
    inside = [
        [layer for layer in own_layers(each) if layer.variables]
        for each in (old, new)
    ]
    if [type(each) for each in inside[0]] != [type(each) for each in inside[1]]:
        raise no_copy(
            old, "its configuration makes one with different layers", argument
        )
    for pair in zip(*inside):
        _match(*pair, matched, argument)
    matched[id(old)] = old, new


def _variables(old, new, argument):
    """The variables of two layers of the same structure, a list of pairs."""
    olds, news = own_variables(old), own_variables(new)
    names = [variable.name for variable in olds]
    by_name = {variable.name: variable for variable in news}
    # Variables are listed in order of creation, which differs if a layer was
    # quantised after it was built.
    if len(by_name) == len(names) and set(names) == set(by_name):
        news = [by_name[name] for name in names]
    if [v.shape for v in olds] != [v.shape for v in news]:
        raise no_copy(
            old, "its configuration makes one with different weights", argument
        )
    return list(zip(olds, news))
