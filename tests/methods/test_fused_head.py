"""A head of the fused features in place of pooling and a dense layer."""

import keras
import numpy as np
import pytest
from support import ranks
from support.builders import (
    CLASSES,
    assert_close,
    compiled,
    data,
    largest_difference,
)

from keras_ffl import FeatureFusionModel, InputError
from keras_ffl.export import stock_head
from keras_ffl.methods import DualNetModel
from keras_ffl.optimizers import SGD

LAYERS = keras.layers
X, Y = data(8, image=ranks.IMAGE)


def by_function(features):
    x = LAYERS.Flatten()(features)
    return LAYERS.Dense(CLASSES, name="last")(LAYERS.Dense(5, "relu")(x))


HEADS = {
    "layer": lambda: LAYERS.EinsumDense("btc,tcm->bm", (CLASSES,), name="mine"),
    "model": lambda: keras.Sequential(
        [LAYERS.Flatten(), LAYERS.Dense(CLASSES)], name="mine"
    ),
    "function": lambda: by_function,
}
FUSED = {
    "ffl": lambda **options: FeatureFusionModel(
        ranks.networks("tokens", "tokens"), 0, **options
    ),
    "dualnet": lambda **options: DualNetModel(
        ranks.pair("tokens"), 1, **options
    ),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", FUSED)
def test_head(method, kind, tmp_path):
    model = compiled(
        FUSED[method](head=HEADS[kind]()),
        SGD(0.05),
        run_eagerly=kind != "function",
    )
    assert model.fused_head.name == (
        "fused_head" if kind == "function" else "mine"
    )
    names = [layer.name for layer in model.layers]
    assert "fused_classifier" not in names and "fused_pooling" not in names
    variables = model.fused_head.trainable_variables
    assert variables
    group = "fusion" if method == "ffl" else None
    for variable in variables:
        assert getattr(variable, "decay_group", None) == group
    before = [w.numpy() for w in variables]
    model.fit(X, Y, 4, epochs=2, verbose=0)
    assert largest_difference(before, variables) > 1e-4
    decays = [model.optimizer.decay_of(variable) for variable in variables]
    assert set(decays) == {1e-5 if method == "ffl" else 1e-4}

    features = model.feature_extractor("fused")(X)
    expected = model.fused_head(features)
    np.testing.assert_allclose(model(X)["fused"], expected, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    for other in (loaded, copy):
        assert type(other.fused_head) is type(model.fused_head)
        np.testing.assert_allclose(
            other(X)["fused"], expected, rtol=1e-5, atol=1e-6
        )
        for variable in other.fused_head.trainable_variables:
            assert getattr(variable, "decay_group", None) == group
    logs = [each.train_on_batch(X, Y) for each in (model, loaded)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    assert_close(loaded.weights, model.weights, 1e-5)
    stock = stock_head(model, "fused", ranks.INFO)
    logits = model.classifier("fused")(
        (X * 0 - ranks.INFO.mean) / ranks.INFO.std
    )
    np.testing.assert_allclose(
        stock(X * 0), keras.ops.softmax(logits), atol=5e-6
    )


@pytest.mark.parametrize("method", FUSED)
def test_no_head_is_pooling_and_a_dense_layer(method):
    model = FUSED[method]()
    assert model.fused_head is model.get_layer("fused_classifier")
    assert "head" not in model.get_config()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (3, "`head` must be a Keras layer or a function from the fused .* 3$"),
        (LAYERS.Dense, "`head` must be a Keras layer or a .*, got <class"),
        (
            lambda features: features,
            r"`head` must give one tensor of the shape of the sub-networks' "
            r"outputs, \(None, 3\), got \(None, 16, 4\)$",
        ),
        (lambda features: None, "can't be called on the fused features of"),
        (lambda features: [features] * 2, "`head` must give one tensor"),
        (lambda features: 1 / 0, r"\(None, 16, 4\): division by zero$"),
        (LAYERS.Conv2D(3, 1), r"`head` can't be called .*\(None, 16, 4\): "),
        (LAYERS.Dense(5), r"got \(None, 16, 5\)$"),
    ],
)
@pytest.mark.parametrize("method", FUSED)
def test_bad_head(method, head, message):
    with pytest.raises(InputError, match=message) as caught:
        FUSED[method](head=head)
    assert "\n" not in str(caught.value)
