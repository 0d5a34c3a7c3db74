"""A saved method after a step, and its outputs, on JAX.

KERAS_BACKEND=jax python -m support.trained_outputs FOLDER
"""

import pathlib
import sys

import keras
import numpy as np

import keras_ffl  # noqa: F401 - registers the method


def after_one_step(model, images, labels):
    """The outputs of a compiled method for images that it has learned from.

    Args:
        model: Compiled method.
        images: Array (batch, height, width, channels).
        labels: Int array (batch,).

    Returns:
        Dict of arrays by head.
    """
    model.train_on_batch(images, labels)
    outputs = model(images, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def main(folder):
    folder = pathlib.Path(folder)
    model = keras.models.load_model(folder / "model.keras")
    with np.load(folder / "batch.npz") as batch:
        outputs = after_one_step(model, batch["images"], batch["labels"])
    np.savez(folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
