"""The features that layers combine: their shapes and checks."""

import math
from collections.abc import Iterable

import keras
from keras import ops

from keras_ffl.backend import same_size_in_step
from keras_ffl.errors import InputError

FEATURES = "(batch, h, w, C), (batch, tokens, C) or (batch, C)"


def is_features(shape):
    """Whether a shape is one of `FEATURES`, with known channels."""
    return 2 <= len(shape) <= 4 and shape[-1] is not None


def check_features(what, shape):
    """Raises `InputError` unless features have a shape that can be fused.

    Args:
        what: Str, the source of the features, which starts the message.
        shape: Their shape: (batch, h, w, C), (batch, tokens, C) or (batch, C)
            with known channels.
    """
    if not is_features(shape):
        raise InputError(
            f"{what} must be {FEATURES} with known channels, got shape "
            f"{tuple(shape)}"
        )


def map_shape(shape):
    """The shape of features as a map.

    Args:
        shape: Tuple, the shape of features.

    Returns:
        4-tuple: that of a map is its own, and tokens whose number is a square
        are a square map, row by row. None for all others.
    """
    if len(shape) == 3 and shape[1] is not None:
        side = math.isqrt(shape[1])
        if side**2 == shape[1]:
            return (shape[0], side, side, shape[2])
    return tuple(shape) if len(shape) == 4 else None


def common_shapes(input_shape, layer):
    """The shapes of a layer's features after they got one rank.

    Features of one rank stay as they are. Where there are both maps and
    tokens, the tokens become maps if the number of each is a square:
    networks that cut an image into patches write them row by row, so the map
    has each patch at its place, and neighbours in both directions stay
    neighbours. Otherwise, as with a class token, all maps become tokens, row
    by row. There is no rule for vectors beside others: a vector has no
    positions, and a map can be pooled in several ways.

    Args:
        input_shape: The argument of `build` from Keras.
        layer: Name of the layer, which starts the message.

    Returns:
        List of tuples of one length.

    Raises:
        InputError: They are not the shapes of at least two features, are
            vectors beside others, or an unknown number of tokens beside maps.
    """
    shapes = _checked(input_shape, layer)
    ranks = {len(shape) for shape in shapes}
    if len(ranks) == 1:
        return shapes
    got = ", ".join(map(str, shapes))
    if 2 in ranks:
        raise InputError(
            f"{layer} can't join vectors (batch, C) with maps or tokens, got "
            f"{got}; pool these before"
        )
    tokens = [shape for shape in shapes if len(shape) == 3]
    if any(shape[1] is None for shape in tokens):
        raise InputError(
            f"{layer} joins maps with a known number of tokens, got {got}"
        )
    if all(map(map_shape, tokens)):
        return [map_shape(shape) for shape in shapes]
    return [_token_shape(shape) for shape in shapes]


def _checked(input_shape, layer):
    """The shapes of a list of at least two features, or an `InputError`."""
    shapes = [
        tuple(shape)
        for shape in input_shape or ()
        if isinstance(shape, Iterable)
    ]
    if len(shapes) < 2:
        raise InputError(
            f"{layer} takes a list of at least two feature maps, got the "
            f"input shape {input_shape}"
        )
    for position, shape in enumerate(shapes, start=1):
        check_features(f"{layer}: feature map {position}", shape)
    return shapes


def _token_shape(shape):
    batch, *positions, channels = shape
    known = None not in positions
    return (batch, math.prod(positions) if known else None, channels)


def of_common_shapes(features, shapes):
    """Brings features to the shapes from `common_shapes`.

    Args:
        features: List of tensors.
        shapes: List of tuples, one for each, without unknown sizes where the
            rank changes.

    Returns:
        List of tensors. Those of the right rank are returned as they are.
    """
    return [
        x if len(x.shape) == len(shape) else _reshaped(x, shape[1:])
        for x, shape in zip(features, shapes, strict=True)
    ]


def _reshaped(x, sizes):
    # A given batch size, so that a wrong size can't become a part of it.
    batch = -1 if isinstance(x, keras.KerasTensor) else ops.shape(x)[0]
    return ops.reshape(x, (batch, *sizes))


def of_one_size(maps, layer, rank=None):
    """Checks heights and widths when the maps are computed.

    A layer built for images of any size doesn't know them earlier. Checking
    known sizes is free. TensorFlow doesn't know them while it traces a step for
    batches of any size, so there the check is part of the step.

    Args:
        maps: List of tensors of one rank: (batch, h, w, C_k), (batch, tokens,
            C_k) or (batch, C_k).
        layer: Name of the layer, which starts the message.
        rank: Rank of the layer's features; None for that of the maps.

    Returns:
        List of the maps; anything computed from these runs after the check.

    Raises:
        InputError: Known sizes differ. Unknown ones raise
            `tf.errors.InvalidArgumentError` in the step.
    """
    rank = rank or len(maps[0].shape)
    what = {3: "one number of tokens"}.get(
        rank, "feature maps of one height and width"
    )
    message = f"{layer}: networks for images of any size must give {what}"
    sizes = [tuple(x.shape[1 : rank - 1]) for x in maps]
    if any(len(set(known) - {None}) > 1 for known in zip(*sizes)):
        raise InputError(f"{message}, got {', '.join(map(str, sizes))}")
    unknown = any(None in size for size in sizes)
    if unknown and not any(isinstance(x, keras.KerasTensor) for x in maps):
        return same_size_in_step(maps, message)
    return list(maps)
