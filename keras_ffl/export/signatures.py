"""Inputs and outputs of the models that converters get."""

import keras
from keras import ops


def named(model, name=None):
    """Names the output in the exported signature, by default as its layer."""
    name = name or model.output_names[0]
    return keras.Model(model.input, {name: model.output})


def sized(model):
    """The named model, which rejects images of other sizes than its input's.

    LiteRT resizes graphs to any input, and their operations broadcast.
    """
    if None in model.input_shape[1:]:
        return named(model)
    given = model.input
    image = keras.Input(given.shape[1:], dtype=given.dtype, name="images")
    checked = keras.Model(image, model(_SameSize()(image)))
    return named(checked, model.output_names[0])


class _SameSize(keras.layers.Layer):
    """Identity through an operation that demands equal sizes."""

    def __init__(self):
        super().__init__(autocast=False)

    def call(self, images):
        other = ops.zeros((1, *images.shape[1:]), images.dtype)
        return ops.concatenate([other, images])[1:]
