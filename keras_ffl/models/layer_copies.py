"""Layers made anew, and the values that they get."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.models.graph import (
    own_layers,
    own_variables,
    runs_its_graph,
    seed_generators,
)


def make_anew(old, changes=None, argument="model", kind=None):
    """A new layer from the configuration of another one.

    Args:
        old: `keras.Layer` or bare Keras operation.
        changes: Dict of what differs in the configuration, or None.
        argument: Name of the argument that the layer came by, for messages.
        kind: Class of the new layer, by default that of `old`.

    Returns:
        `keras.Layer` or bare Keras operation.

    Raises:
        InputError: The configuration does not make a layer.
    """
    try:
        # As a file has it: the configuration itself may hold objects, which
        # both layers would have then.
        config = keras.saving.serialize_keras_object(old)["config"]
        return (kind or type(old)).from_config({**config, **(changes or {})})
    # Layers of users raise whatever comes up in them.
    except Exception as error:
        raise no_copy(old, _reason(old, error), argument) from error


def _reason(layer, error):
    if type(layer) is keras.layers.Lambda:
        return (
            "no file carries its function; use keras.ops, a class of layers "
            "with `get_config`, or a function registered with "
            "keras.saving.register_keras_serializable instead"
        )
    if isinstance(layer, keras.layers.TFSMLayer):
        return (
            "it loads a SavedModel, which Keras does behind "
            "keras.config.enable_unsafe_deserialization() only"
        )
    return f"its configuration makes no other one ({first_line(error)})"


def first_line(error):
    """The first line of an exception's text, or its class where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def no_copy(layer, reason, argument):
    """The error of a layer that can't be copied.

    Args:
        layer: `keras.Layer` or bare Keras operation.
        reason: Str.
        argument: Name of the argument that the layer came by.

    Returns:
        `InputError`.
    """
    return InputError(
        f"`{argument}` can't be copied because of {type(layer).__name__} "
        f"'{layer.name}': {reason}"
    )


def copy_values(pairs, argument="model"):
    """Gives new layers the values of old ones, and what is trainable.

    Args:
        pairs: List of (old, new), built layers of one structure or bare
            Keras operations, each behind those inside of it.
        argument: Name of the argument that the layers came by, for messages.

    Returns:
        List of (new, old) states of the random generators that were given no
        seed, which have kept their own.

    Raises:
        InputError: Layers differ in structure, or what is shared among the
            old ones is not among the new ones.
    """
    matched = {}
    for old, new in pairs:
        if runs_its_graph(old):
            matched[id(old)] = old, new
        elif isinstance(old, keras.Layer):
            _match(old, new, matched, argument)
    # Each in front of those inside, which get what it is set to.
    for old, new in reversed(matched.values()):
        new.trainable = old.trainable
    # A model's variables beside its graph's have nothing to do with that.
    matched = [each for each in matched.values() if not runs_its_graph(each[0])]
    # As a file would carry them: some layers (`Normalization` for one) compute
    # more state when they load. Others (those with LoRA) save less than all.
    for old, new in matched:
        store = {}
        old.save_own_variables(store)
        try:
            if store:
                new.load_own_variables(store)
        except Exception as error:
            reason = f"its copy does not take its weights ({first_line(error)})"
            raise no_copy(old, reason, argument) from error
    shared, unseeded = {}, []
    for old, new in matched:
        for one, other in _variables(old, new, argument):
            if other is one or shared.setdefault(id(one), other) is not other:
                reason = "its copy would share weights otherwise than it does"
                raise no_copy(old, reason, argument)
            # A copy: JAX hands a step's arrays over to be overwritten.
            other.assign(ops.copy(one))
            other.trainable = one.trainable
        for one, other in zip(seed_generators(old), seed_generators(new)):
            if one.get_config()["seed"] is None:
                unseeded.append((other.state, one.state))
            else:
                other.state.assign(ops.copy(one.state))
    return unseeded


def _match(old, new, matched, argument):
    """Pairs two layers up, behind those inside of them."""
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
            old, "its configuration makes one of other layers", argument
        )
    for pair in zip(*inside):
        _match(*pair, matched, argument)
    matched[id(old)] = old, new


def _variables(old, new, argument):
    """The variables of two layers of one structure, a list of pairs."""
    olds, news = own_variables(old), own_variables(new)
    names = [variable.name for variable in olds]
    by_name = {variable.name: variable for variable in news}
    # In their order they stand in that in which they were made, which need
    # not be the same where a layer was quantised after it was built.
    if len(by_name) == len(names) and set(names) == set(by_name):
        news = [by_name[name] for name in names]
    if [v.shape for v in olds] != [v.shape for v in news]:
        raise no_copy(
            old, "its configuration makes one of other weights", argument
        )
    return list(zip(olds, news))
