"""Training on several devices of JAX, and several steps in one call.

    KERAS_BACKEND=jax python -m support.several_devices FOLDER

trains the same model in every way of `WAYS` and writes what came out to
`FOLDER/WAY.npz`.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import ops

from keras_ffl.backend import make_devices, split_cpu
from keras_ffl.backend.jax.devices import JaxDevices
from keras_ffl.data import (
    Augmentation,
    DatasetInfo,
    evaluation_batches,
    training_batches,
)
from support import builders, method_steps

# Method, number of devices, steps in one call, and dtype policy.
WAYS = {
    "one": ("ffl", 1, 1, "float32"),
    "two": ("ffl", 2, 1, "float32"),
    "eight": ("ffl", 8, 1, "float32"),
    "several_steps": ("ffl", 1, 2, "float32"),
    "eight_several_steps": ("ffl", 8, 2, "float32"),
    "bfloat16": ("ffl", 1, 2, "mixed_bfloat16"),
    "turns": ("dualnet", 1, 1, "float32"),
    "turns_several_steps": ("dualnet", 1, 2, "float32"),
}
INFO = DatasetInfo(
    "toy", 3, builders.IMAGE, tuple("abc"), (100.0,) * 2, (60.0,) * 2, True
)


def data(n):
    rng = np.random.default_rng(n)
    x = rng.integers(0, 256, (n, *INFO.input_shape)).astype("uint8")
    return x, rng.integers(3, size=n).astype("int32")


def train(method, weights, steps_per_call):
    """Two epochs of 3 batches, the last of which 8 devices can't share."""
    model = method_steps.model_of(method)
    if weights:
        method_steps.give_weights(model, weights)
    else:
        builders.moved(model)
        weights.update(method_steps.initial_weights(model))
    batches = training_batches(
        *data(20),
        INFO,
        8,
        seed=1,
        augmentation=Augmentation(pad=1),
        epochs=2,
        steps_per_call=steps_per_call,
    )
    history = model.fit(
        batches,
        epochs=2,
        steps_per_epoch=len(batches.calls),
        verbose=0,
    ).history
    test = evaluation_batches(*data(12), INFO, 8)
    logs = model.evaluate(test, verbose=0, return_dict=True)
    found = {f"evaluation: {name}": value for name, value in logs.items()}
    found |= {f"training: {name}": each for name, each in history.items()}
    logits = model.predict(test, verbose=0)
    found |= {f"logits of {head}": value for head, value in logits.items()}
    for kind, variables in (
        ("weight", model.weights),
        ("slot", model.optimizer.variables),
    ):
        for i, variable in enumerate(variables):
            found[f"{kind} {i}"] = ops.convert_to_numpy(variable)
    devices = len(model.weights[0].value.sharding.device_set)
    return found | {"devices": devices}


def main():
    split_cpu(8)
    names = make_devices("mirrored").names
    assert len(names) == 8
    weights = {}
    for way, (method, devices, steps_per_call, policy) in WAYS.items():
        keras.config.set_dtype_policy(policy)
        with JaxDevices(names[:devices]).running():
            found = train(
                method, weights.setdefault(method, {}), steps_per_call
            )
        assert found.pop("devices") == devices
        np.savez(pathlib.Path(sys.argv[1]) / f"{way}.npz", **found)


if __name__ == "__main__":
    main()
