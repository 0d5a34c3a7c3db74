"""LoRA's weights in a method's file."""

import keras

from keras_ffl.models.graph import layers_within, own_variables


class Adapters(keras.layers.Layer):
    """Stores the weights of a model's LoRA layers in its file.

    Keras saves the kernel of such a layer with LoRA's product added, and sets
    both factors to 0 on loading. Then neither has a gradient, so they would
    never change again. Keras loads a model's attributes after its layers, so
    the values saved here are the final ones.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model):
        super().__init__(name="adapters")
        # A function, because Keras would treat layers as part of this one.
        self._variables = lambda: _variables(model)

    def save_own_variables(self, store):
        for key, variable in self._variables().items():
            store[key] = variable

    def load_own_variables(self, store):
        # Files of models without LoRA, and older files, are empty here.
        for key, variable in self._variables().items():
            if key in store.keys():
                variable.assign(store[key])


def _variables(model):
    """The variables of the LoRA layers, by keys that are stable in files."""
    layers = [layer for layer in layers_within(model) if own_variables(layer)]
    return {
        f"{k}_{variable.name}": variable
        for k, layer in enumerate(layers)
        if getattr(layer, "lora_enabled", False)
        for variable in own_variables(layer)
    }
