"""Callbacks of a run."""

import keras
import numpy as np
import pytest

from keras_ffl import TrainingDiverged
from keras_ffl.callbacks import (
    Checkpoints,
    StopOnDivergence,
    WarmUp,
)


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


def test_divergence_in_the_last_of_several_steps_a_call():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", steps_per_execution=2)
    with pytest.raises(TrainingDiverged, match="epoch 1, step 3 of 3"):
        model.fit(
            np.ones((3, 1)),
            np.array([1.0, 1.0, np.nan]),
            batch_size=1,
            shuffle=False,
            verbose=0,
            callbacks=[StopOnDivergence(3)],
        )


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


class Rates(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        rate = self.model.optimizer.learning_rate
        self.found.append(float(keras.ops.convert_to_numpy(rate)))


def test_warm_up_ends_between_calls_of_several_steps():
    def schedule(epoch):
        return 0.5

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(9.0), loss="mse")
    # Calls of four steps each, four a epoch.
    warm_up = WarmUp(schedule, 0.6, steps_per_epoch=16, numbers=[0, 4, 8, 12])
    # It may serve several trainings.
    for _ in range(2):
        rates = Rates()
        model.fit(
            np.zeros((4, 1)),
            np.zeros((4, 1)),
            batch_size=1,
            verbose=0,
            callbacks=[warm_up, rates],
        )
        assert rates.found == pytest.approx([0.05, 0.25, 0.45, 0.5])


@pytest.mark.parametrize("initial_epoch", [0, 1])
def test_warm_up_grows_in_even_steps_to_the_rate_of_the_epoch(initial_epoch):
    def schedule(epoch):
        return [1.0, 0.5, 0.2][epoch]

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(9.0), loss="mse")
    rates = Rates()
    model.fit(
        np.zeros((8, 1)),
        np.zeros((8, 1)),
        batch_size=2,
        epochs=3,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(schedule),
            WarmUp(schedule, 1.5, steps_per_epoch=4),
            rates,
        ],
    )
    # Six steps of warm-up, in which the rate drops after the fourth.
    expected = [1 / 6, 2 / 6, 3 / 6, 4 / 6]
    expected += [0.5 * 5 / 6, 0.5, 0.5, 0.5] + [0.2] * 4
    assert rates.found == pytest.approx(expected[4 * initial_epoch :])
