"""The ramp-up and the learning rates."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.schedules import Cosine, Steps, rampup_weight


@pytest.mark.parametrize(
    ("epoch", "golden"),
    [
        (0, 0.0067379),
        (1, 0.0076291),
        (20, 0.0600547),
        (40, 0.2865048),
        (79, 0.9992191),
        (80, 1.0),
        (81, 1.0),
        (300, 1.0),
    ],
)
def test_rampup_golden_values(epoch, golden):
    assert float(rampup_weight(epoch, 80)) == pytest.approx(golden, abs=1e-7)
    variable = keras.Variable(epoch, dtype="int32")
    assert float(rampup_weight(variable, 80)) == pytest.approx(golden, abs=1e-7)


@pytest.mark.parametrize("epoch", [0, 1, 100])
def test_without_a_rampup_the_weight_is_one(epoch):
    weight = rampup_weight(epoch, 0)
    assert float(weight) == 1.0
    assert keras.backend.standardize_dtype(weight.dtype) == "float32"


def test_rampup_of_a_fractional_length():
    expected = np.exp(-5 * (1 - 2 / 2.5) ** 2)
    assert float(rampup_weight(2, 2.5)) == pytest.approx(expected, rel=1e-6)
    assert float(rampup_weight(3, 2.5)) == 1.0


def test_steps_follow_the_recipe():
    rate = Steps(0.1, (150, 225))
    expected = {0: 0.1, 149: 0.1, 150: 0.01, 224: 0.01, 225: 0.001, 299: 0.001}
    for epoch, value in expected.items():
        assert rate(epoch) == pytest.approx(value, rel=1e-12)


def test_steps_by_another_factor_and_without_milestones():
    assert Steps(0.2, [3], factor=0.5)(3) == pytest.approx(0.1)
    assert Steps(0.2, [])(10_000) == 0.2
    assert Steps(0.2, [0])(0) == pytest.approx(0.02)


@pytest.mark.parametrize("milestones", [(2, 1), (1, 1), (-1, 3)])
def test_bad_milestones(milestones):
    with pytest.raises(InputError, match="`milestones` must be increasing"):
        Steps(0.1, milestones)


def test_cosine_values():
    rate = Cosine(0.1, 8)
    assert rate(0) == 0.1
    assert rate(2) == pytest.approx(0.05 * (1 + np.sqrt(0.5)), rel=1e-12)
    assert rate(4) == pytest.approx(0.05, rel=1e-12)
    assert rate(8) == pytest.approx(0.0, abs=1e-17)
    assert rate(20) == pytest.approx(0.0, abs=1e-17)


def test_bad_epochs_of_cosine():
    with pytest.raises(InputError, match="`epochs` must be >= 1, got 0"):
        Cosine(0.1, 0)


@pytest.mark.parametrize("schedule", [Steps(0.1, (1, 2)), Cosine(0.1, 3)])
def test_under_the_learning_rate_scheduler(schedule):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.7), loss="mse", jit_compile=False)
    history = model.fit(
        ops.ones((2, 1)),
        ops.ones((2, 1)),
        epochs=3,
        verbose=0,
        callbacks=[keras.callbacks.LearningRateScheduler(schedule)],
    )
    np.testing.assert_allclose(
        history.history["learning_rate"],
        [schedule(epoch) for epoch in range(3)],
        rtol=1e-6,
    )
