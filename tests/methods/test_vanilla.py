"""The single network with cross-entropy."""

import keras
import numpy as np
import pytest
from support.builders import CLASSES, compiled, cross_entropy, data, subnetwork

from keras_ffl import VanillaModel
from keras_ffl.methods import TrainingMethod
from keras_ffl.models import build, count_parameters


def vanilla(**kwargs):
    return VanillaModel(subnetwork(**kwargs))


def test_logs_against_numpy():
    model = compiled(vanilla(), metrics=["accuracy"], run_eagerly=True)
    x, y = data()
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0)["vanilla"]
    loss = cross_entropy(np.eye(CLASSES)[y], logits).mean()
    assert result == pytest.approx(
        {
            "loss": loss,
            "ce_vanilla": loss,
            # Keras puts no head's name before it where there is one only.
            "accuracy": (logits.argmax(axis=-1) == y).mean(),
        },
        rel=1e-5,
    )


def test_trains_as_keras_does():
    x, y = data()
    keras.utils.set_random_seed(1)
    ours = vanilla()
    network = keras.models.clone_model(ours.network)
    network.set_weights(ours.network.get_weights())
    theirs = keras.Model(network.input, network.output["logits"])
    compiled(ours, run_eagerly=True)
    theirs.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    weights = np.linspace(0, 2, len(y))
    histories = [
        model.fit(
            x,
            y,
            batch_size=4,
            epochs=2,
            shuffle=False,
            verbose=0,
            sample_weight=weights,
        ).history["loss"]
        for model in (ours, theirs)
    ]
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)
    for a, b in zip(ours.network.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_parts_and_size():
    network = build("resnet8", 100)
    model = VanillaModel(network)
    assert isinstance(model, TrainingMethod)
    assert count_parameters(model) == 83_892
    assert count_parameters(model.classifier("vanilla")) == 83_892
    assert count_parameters(model.network) == 83_892
    assert model.primary_head == "vanilla"
    assert model.trained_heads == model.heads == ("vanilla",)
    assert model.num_classes == 100
    assert set(map(id, model.network.weights)) == set(map(id, network.weights))


def test_feature_extractor_of_a_loaded_model(tmp_path):
    model = vanilla()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x, _ = data(2)
    np.testing.assert_array_equal(
        loaded.feature_extractor("vanilla")(x), model.network(x)["features"]
    )
