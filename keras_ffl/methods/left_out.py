"""What Keras leaves out of a model's file."""

import keras
import numpy as np

from keras_ffl.models.graph import (
    layers_within,
    own_variables,
    seed_generators,
)


class LeftOut(keras.layers.Layer):
    """Stores random states and LoRA's weights in a model's file.

    Keras saves no state of a `keras.random.SeedGenerator`, so that dropout
    would begin anew, with another seed. And it saves the kernel of a layer with
    LoRA's product added, and sets both factors to 0 on loading. Then neither
    has a gradient, so they would never change again. Keras loads a model's
    attributes after its layers, so the values saved here are the final ones.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model):
        super().__init__(name="left_out")
        # Functions, because Keras would treat layers as part of this one.
        self._adapted = lambda: _adapted(model)
        self._random = lambda: enumerate(_random_states(model))

    def save_own_variables(self, store):
        for k, state in self._random():
            store[f"{k}_random_state"] = state
        for k, layer in self._adapted():
            # Keras makes some layers anew without it.
            store[f"{k}_lora_alpha"] = np.float64(layer.lora_alpha)
            for variable in own_variables(layer):
                store[f"{k}_{variable.name}"] = variable

    def load_own_variables(self, store):
        # Files of models without any of these are empty here.
        known = store.keys()
        for k, state in self._random():
            if f"{k}_random_state" in known:
                state.assign(store[f"{k}_random_state"])
        for k, layer in self._adapted():
            if f"{k}_lora_alpha" in known:
                layer.lora_alpha = float(np.asarray(store[f"{k}_lora_alpha"]))
            for variable in own_variables(layer):
                if f"{k}_{variable.name}" in known:
                    variable.assign(store[f"{k}_{variable.name}"])


def _random_states(model):
    """The states of all seed generators, in an order that files keep."""
    states = [g.state for x in layers_within(model) for g in seed_generators(x)]
    return list({id(state): state for state in states}.values())


def _adapted(model):
    """The LoRA layers, each after a number that is stable in files."""
    layers = [layer for layer in layers_within(model) if own_variables(layer)]
    return [
        (k, layer)
        for k, layer in enumerate(layers)
        if getattr(layer, "lora_enabled", False)
    ]
