"""Checks of a layer's input feature maps."""

from collections.abc import Iterable

import keras

from keras_ffl.backend import same_size_in_step
from keras_ffl.errors import InputError


def check_maps(input_shape, layer):
    """Checks the shapes of the feature maps that a layer is built for.

    Args:
        input_shape: The argument of `build` from Keras.
        layer: Name of the layer, which starts the message.

    Returns:
        List of 4-tuples.

    Raises:
        InputError: They are not the shapes of at least two 4-D maps.
    """
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
        if len(shape) != 4 or shape[-1] is None:
            raise InputError(
                f"{layer}: feature map {position} must be 4-D (batch, height, "
                f"width, channels) with known channels, got shape {shape}"
            )
    return shapes


def of_one_size(maps, layer):
    """Checks heights and widths when the maps are computed.

    A layer built for images of any size doesn't know them earlier. Checking
    known sizes is free. TensorFlow doesn't know them while it traces a step for
    batches of any size, so there the check is part of the step.

    Args:
        maps: List of tensors (batch, h, w, C_k).
        layer: Name of the layer, which starts the message.

    Returns:
        List of the maps; anything computed from these runs after the check.

    Raises:
        InputError: Known heights or widths differ. Unknown ones raise
            `tf.errors.InvalidArgumentError` in the step.
    """
    message = (
        f"{layer}: networks for images of any size must give feature maps of "
        "one height and width"
    )
    sizes = [tuple(x.shape[1:3]) for x in maps]
    if any(len(set(known) - {None}) > 1 for known in zip(*sizes)):
        raise InputError(f"{message}, got {', '.join(map(str, sizes))}")
    unknown = any(None in size for size in sizes)
    if unknown and not any(isinstance(x, keras.KerasTensor) for x in maps):
        return same_size_in_step(maps, message)
    return list(maps)
