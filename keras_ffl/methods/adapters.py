"""LoRA's weights in a method's file."""

import keras
import numpy as np

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
        self._adapted = lambda: _adapted(model)

    def save_own_variables(self, store):
        for k, layer in self._adapted():
            # Keras makes some layers anew without it.
            store[f"{k}_lora_alpha"] = np.float64(layer.lora_alpha)
            for variable in own_variables(layer):
                store[f"{k}_{variable.name}"] = variable

    def load_own_variables(self, store):
        # Files of models without LoRA, and older files, are empty here.
        known = store.keys()
        for k, layer in self._adapted():
            if f"{k}_lora_alpha" in known:
                layer.lora_alpha = float(np.asarray(store[f"{k}_lora_alpha"]))
            for variable in own_variables(layer):
                if f"{k}_{variable.name}" in known:
                    variable.assign(store[f"{k}_{variable.name}"])


def _adapted(model):
    """The LoRA layers, each after a number that is stable in files."""
    layers = [layer for layer in layers_within(model) if own_variables(layer)]
    return [
        (k, layer)
        for k, layer in enumerate(layers)
        if getattr(layer, "lora_enabled", False)
    ]
