"""LoRA's weights in the file of a method."""

import keras

from keras_ffl.models.graph import layers_within, own_variables


class Adapters(keras.layers.Layer):
    """Carries the weights of a model's layers with LoRA in its file.

    Keras saves such a layer's kernel with LoRA's product added to it, and
    makes both factors 0 when it loads. Then neither has a gradient, so that
    they would never change again. Keras loads a model's attributes behind its
    layers: what is saved here is what the layers have in the end.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model):
        super().__init__(name="adapters")
        # A function, since Keras would take layers for a part of this one.
        self._variables = lambda: _variables(model)

    def save_own_variables(self, store):
        for key, variable in self._variables().items():
            store[key] = variable

    def load_own_variables(self, store):
        # Nothing is in files of models without LoRA, and in older ones.
        for key, variable in self._variables().items():
            if key in store.keys():
                variable.assign(store[key])


def _variables(model):
    """The variables of the layers with LoRA, by what stays in a file."""
    layers = [layer for layer in layers_within(model) if own_variables(layer)]
    return {
        f"{k}_{variable.name}": variable
        for k, layer in enumerate(layers)
        if getattr(layer, "lora_enabled", False)
        for variable in own_variables(layer)
    }
