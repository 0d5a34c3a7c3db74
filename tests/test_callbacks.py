"""Callbacks of a run."""

import keras
import numpy as np
import pytest

from keras_ffl import TrainingDiverged
from keras_ffl.callbacks import Checkpoints, StopOnDivergence


class FakeWorkdir:
    def __init__(self):
        self.saved = []

    def save_best(self, model, epochs):
        self.saved.append(f"best {epochs}")

    def save_checkpoint(self, model, epochs, keep):
        self.saved.append((epochs, keep))


def test_divergence_names_epoch_and_step_and_saves_nothing():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    x = np.ones((6, 1), "float32")
    # The fourth of six steps of the second epoch meets a NaN.
    y = np.ones((12, 1), "float32")
    y[9] = np.nan
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(
        (np.concatenate([x, x]), y)
    ).batch(1)
    workdir = FakeWorkdir()
    with pytest.raises(TrainingDiverged, match="epoch 2, step 4 of 6"):
        model.fit(
            batches,
            epochs=2,
            steps_per_epoch=6,
            shuffle=False,
            verbose=0,
            callbacks=[StopOnDivergence(6), Checkpoints(workdir, "mae")],
        )
    assert workdir.saved == ["best 1", (1, 2)]


def test_best_is_saved_when_it_is_better():
    workdir = FakeWorkdir()
    callback = Checkpoints(workdir, "val_accuracy", best=0.5, keep=3)
    for epoch, accuracy in enumerate([0.4, 0.6, 0.6, 0.7]):
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
    assert workdir.saved == [
        (1, 3),
        "best 2",
        (2, 3),
        (3, 3),
        "best 4",
        (4, 3),
    ]
