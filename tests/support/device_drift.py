"""How far 8 devices drift from one within an epoch of the quickstart.

    KERAS_BACKEND=jax python -m support.device_drift

trains the epoch in float32 and in float64, on one device and on 8 simulated
ones, and prints a line of JSON for each dtype: the largest difference of a
weight, and both losses.
"""

import dataclasses
import json

import jax
import keras
import numpy as np
from keras import ops

from keras_ffl import presets, training
from keras_ffl.backend import make_devices, split_cpu
from keras_ffl.backend.jax.devices import JaxDevices
from keras_ffl.training.fit_arguments import fit_arguments
from keras_ffl.training.single import settings


def average(self, inputs):
    """Global average pooling; Keras' own takes float32 means on JAX."""
    return ops.sum(inputs, (1, 2)) / (inputs.shape[1] * inputs.shape[2])


def train(config, devices):
    """The trainable weights after an epoch, and its mean loss."""
    with settings(config), devices.running():
        dataset, _ = training.load_data(config)
        model = training.build_model(config, dataset.info)
        arguments = fit_arguments(config, dataset, None, 0, devices)
        del arguments["validation_data"]
        history = model.fit(**arguments, verbose=0).history
    weights = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    return weights, history["loss"][0]


def main():
    split_cpu(8)
    names = make_devices("mirrored").names
    for policy in ("float32", "float64"):
        if policy == "float64":
            jax.config.update("jax_enable_x64", True)
            keras.layers.GlobalAveragePooling2D.call = average
        config = dataclasses.replace(
            presets.preset("quickstart"),
            epochs=1,
            lr_milestones=(),
            dtype_policy=policy,
        )
        (one, loss), (eight, other_loss) = (
            train(config, JaxDevices(names[:count])) for count in (1, 8)
        )
        difference = max(
            np.abs(a - b).max() for a, b in zip(one, eight, strict=True)
        )
        found = {
            "dtype": policy,
            "weights": float(difference),
            "losses": [loss, other_loss],
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
