"""Plain models of one head or feature map, and export."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    branches,
    compiled,
    data,
    ffl,
    moved,
    separate,
)

from keras_ffl import VanillaModel
from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage
from keras_ffl.models import count_parameters

HEADS = ("fused", "sub_1", "sub_2", "ensemble")
MAKERS = [branches, separate]


def outputs_of(model, x):
    outputs = {k: np.asarray(z) for k, z in model(x).items()}
    subs = [z for head, z in outputs.items() if head.startswith("sub_")]
    return {**outputs, "ensemble": np.mean(subs, axis=0)}


@pytest.mark.parametrize("make", MAKERS)
def test_names(make):
    model = ffl(make(3))
    assert model.trained_heads == ("fused", "sub_1", "sub_2", "sub_3")
    assert model.heads == ("fused", "sub_1", "sub_2", "sub_3", "ensemble")
    assert model.primary_head == "fused"
    assert model.output_names == ["fused", "sub_1", "sub_2", "sub_3"]
    assert (model.branches, model.num_classes) == (3, CLASSES)


@pytest.mark.parametrize("make", MAKERS)
def test_classifiers_give_the_model_s_logits(make):
    model = moved(ffl(make()))
    x, _ = data(5, seed=1)
    expected = outputs_of(model, x)
    for head in HEADS:
        network = model.classifier(head)
        assert not isinstance(network, type(model))
        assert network.output_shape == (None, CLASSES)
        np.testing.assert_allclose(network(x), expected[head], rtol=1e-5)


@pytest.mark.parametrize("make", MAKERS)
def test_classifiers_share_the_weights(make):
    model = ffl(make())
    own = set(map(id, model.weights))
    for head in HEADS:
        weights = set(map(id, model.classifier(head).weights))
        assert weights and weights < own
    one, two = (
        set(map(id, model.classifier(head).weights)) for head in HEADS[1:3]
    )
    shared = 2 if make is branches else 0
    assert len(one & two) == shared
    assert set(map(id, model.classifier("ensemble").weights)) == one | two


@pytest.mark.parametrize("make", MAKERS)
def test_feature_extractors(make):
    model = moved(ffl(make()))
    x, _ = data(5, seed=1)
    expected = outputs_of(model, x)
    for head in ("fused", "sub_1", "sub_2"):
        features = np.asarray(model.feature_extractor(head)(x))
        assert features.ndim == 4
        kernel, bias = model.classifier(head).get_weights()[-2:]
        np.testing.assert_allclose(
            features.mean(axis=(1, 2)) @ kernel + bias,
            expected[head],
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("make", MAKERS)
def test_subnetworks_are_what_came_in(make):
    networks = make()
    model = moved(ffl(networks))
    x, _ = data(5, seed=1)
    assert len(model.subnetworks) == 2
    for network, given in zip(model.subnetworks, networks):
        assert count_parameters(network) == count_parameters(given)
        for key in ("features", "logits"):
            np.testing.assert_allclose(
                network(x)[key], given(x)[key], rtol=1e-6
            )


def test_ensemble_classifier_saves_and_loads(tmp_path):
    network = ffl().classifier("ensemble")
    network.save(tmp_path / "ensemble.keras")
    loaded = keras.saving.load_model(tmp_path / "ensemble.keras")
    x, _ = data(3)
    np.testing.assert_array_equal(loaded(x), network(x))


def test_training_goes_on_in_the_parts():
    model = ffl(fusion=FeatureAverage())
    network = model.classifier("sub_1")
    x, _ = data(3)
    before = np.asarray(network(x))
    compiled(model, run_eagerly=True).train_on_batch(*data())
    assert np.abs(np.asarray(network(x)) - before).max() > 1e-4


@pytest.mark.parametrize("head", ["sub_3", "sub_0", "teacher", None])
def test_unknown_head(head):
    model = ffl()
    known = "`head` must be one of fused, sub_1, sub_2"
    with pytest.raises(InputError, match=f"{known}, ensemble, got {head!r}"):
        model.classifier(head)
    with pytest.raises(InputError, match=f"{known}, got {head!r}"):
        model.feature_extractor(head)


def test_the_ensemble_has_no_feature_map():
    with pytest.raises(InputError, match="got 'ensemble'"):
        ffl().feature_extractor("ensemble")


@pytest.mark.parametrize("make", MAKERS)
def test_export(make, tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = moved(ffl(make()))
    model.export(tmp_path / "saved_model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    x, _ = data(3, seed=1)
    logits = served.serve(x)
    expected = model(x)
    assert set(logits) == {"fused", "sub_1", "sub_2"}
    for head, values in expected.items():
        np.testing.assert_allclose(logits[head], values, rtol=1e-5, atol=1e-6)


def test_vanilla_heads():
    network = separate()[0]
    model = VanillaModel(network)
    x, _ = data(3)
    assert model.heads == ("vanilla",)
    np.testing.assert_allclose(
        model.classifier("vanilla")(x), network(x)["logits"], rtol=1e-6
    )
    np.testing.assert_allclose(
        model.feature_extractor()(x), network(x)["features"], rtol=1e-6
    )
