"""The channel axis of a feature map."""

from keras_ffl.errors import InputError
from keras_ffl.models.graph import layers_within, unrolled

# Operations that may move the channels to another axis.
_MOVING = ("Einsum", "Moveaxis", "Permute", "Reshape", "Swapaxes", "Transpose")


def check_channels_last(what, model, features):
    """Raises `InputError` if a feature map is known to be channels-first.

    Convolutions, pooling and the like declare their channel axis, and other
    Keras layers leave it in place. After a third-party layer or one that moves
    axes, nothing is known. A vector has one axis only.

    Args:
        what: Str, the source of the map, which starts the message.
        model: Functional `keras.Model`.
        features: `keras.KerasTensor` of its graph: a map, tokens or a vector.
    """
    layer = _channels_first_layer(model, features)
    if layer is not None:
        shape = "(batch, h, w, C)"
        if len(features.shape) == 3:
            shape = "(batch, tokens, C)"
        raise InputError(
            f"{what} must give a feature map {shape}, but its layer "
            f"'{layer}' puts the channels first; build it with "
            "data_format='channels_last'"
        )


def _channels_first_layer(model, features):
    """The path of the layer that makes a map channels-first, or None."""
    calls, tensors = unrolled(model)
    producers = {id(tensor): call for call in calls for tensor in call.outputs}
    pending, seen = [tensors[id(features)]], set()
    rank = len(features.shape)
    if rank == 2:
        return None
    while pending:
        tensor = pending.pop()
        call = producers.get(id(tensor))
        if call is None or id(call) in seen or len(tensor.shape) != rank:
            continue
        seen.add(id(call))
        formats = _formats(call.layer, rank)
        if formats == {"channels_first"}:
            return call.path
        if not formats and _leaves_axes(call.layer):
            pending += call.inputs
    return None


def _formats(layer, rank):
    layers = (layer, *layers_within(layer))
    if rank == 3:
        # A layer that makes tokens of an image has the image's format.
        layers = [layer] if type(layer).__module__.startswith("keras.") else []
    return {getattr(each, "data_format", None) for each in layers} - {None}


def _leaves_axes(layer):
    kind = type(layer)
    package = kind.__module__.split(".")[0]
    return package in ("keras", "keras_ffl") and kind.__name__ not in _MOVING
