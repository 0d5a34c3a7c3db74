"""FFL whose fused classifier's losses don't train the sub-networks."""

import keras
import numpy as np
import pytest
from support.builders import (
    assert_close,
    branches,
    compiled,
    data,
    ffl,
    largest_difference,
    mean_cross_entropy,
    mean_kl,
    moved,
    separate,
)

from keras_ffl import FeatureFusionModel
from keras_ffl.data import DatasetInfo
from keras_ffl.export import export_head, stock_head

tf = pytest.importorskip("tensorflow")

RATE = 0.05
INFO = DatasetInfo("toy", 3, (4, 4, 2), tuple("abc"), (0, 0), (1, 1), False)


def model_of(make=branches, **options):
    """The same weights at every call."""
    keras.utils.set_random_seed(1)
    model = moved(ffl(make(), temperature=2.0, **options))
    return compiled(model, keras.optimizers.SGD(RATE), run_eagerly=True)


def by_hand(model, x, y):
    """All weights after a step in which each part has losses of its own."""
    with tf.GradientTape(persistent=True) as tape:
        z = model(x, training=True)
        ensemble = (z["sub_1"] + z["sub_2"]) / 2
        fused = mean_cross_entropy(y, z["fused"])
        fused += mean_kl(ensemble, z["fused"], 2.0)
        subs = sum(
            mean_cross_entropy(y, z[head]) + mean_kl(z["fused"], z[head], 2.0)
            for head in ("sub_1", "sub_2")
        )
    parts = (model.fusion, model.fused_head)
    own = [v for part in parts for v in part.trainable_variables]
    others = [v for net in model.subnetworks for v in net.trainable_variables]
    others = list({id(v): v for v in others}.values())
    assert len(own) + len(others) == len(model.trainable_variables)
    for loss, variables in ((fused, own), (subs, others)):
        slopes = tape.gradient(loss, [v.value for v in variables])
        for variable, slope in zip(variables, slopes, strict=True):
            variable.assign_sub(RATE * slope)
    return model.weights


@pytest.mark.parametrize("make", [branches, separate])
def test_a_step_by_hand(make):
    x, y = data()
    model = model_of(make, detach_fusion=True)
    logs = model.train_on_batch(x, y, return_dict=True)
    assert_close(model.weights, by_hand(model_of(make), x, y))
    # The predictions are those of ordinary FFL, its step is another one.
    ordinary = model_of(make)
    expected = ordinary.train_on_batch(x, y, return_dict=True)
    assert logs == pytest.approx(expected, rel=1e-6)
    assert largest_difference(model.weights, ordinary.weights) > 1e-3


@pytest.mark.parametrize("ema_teacher", [False, True])
def test_equal_views_train_as_one_image(ema_teacher):
    x, y = data()
    options = {"detach_fusion": True, "ema_teacher": ema_teacher}
    model, other = (model_of(separate, **options) for _ in range(2))
    model.train_on_batch(x, y)
    other.train_on_batch(np.stack([x, x], axis=1), y)
    assert_close(other.weights, model.weights, 1e-6)


def test_a_model_as_fusion():
    maps = [keras.Input((4, 4, 3)) for _ in range(2)]
    joined = keras.layers.Concatenate()(maps)
    joined = keras.layers.Conv2D(2, 1, activation="relu")(joined)
    fusion = keras.Model(maps, joined, name="own_fusion")
    model = model_of(fusion=fusion, detach_fusion=True)
    x, y = data()
    fused = model.feature_extractor("fused")(x)
    assert fused.shape == (8, 4, 4, 2)
    before = fusion.get_weights()
    model.train_on_batch(x, y)
    assert largest_difference(before, fusion.weights) > 1e-4


def test_files():
    assert "detach_fusion" not in model_of().get_config()
    model = model_of(detach_fusion=True)
    copy = FeatureFusionModel.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    compiled(copy, keras.optimizers.SGD(RATE), run_eagerly=True)
    for each in (model, copy):
        each.train_on_batch(*data())
    assert_close(copy.weights, model.weights, 1e-7)


def test_heads_and_exports_have_no_stopped_gradient(tmp_path):
    """They may be trained further."""
    model, ordinary = model_of(detach_fusion=True), model_of()
    images = np.random.default_rng(0).integers(0, 3, (5, 4, 4, 2), "uint8")
    stock = [stock_head(each, "fused", INFO) for each in (model, ordinary)]
    np.testing.assert_array_equal(*(each(images) for each in stock))
    for network in (stock[0], model.classifier("fused")):
        x = tf.constant(images, "float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(x, training=False)[:, 0]
        assert np.abs(tape.gradient(y, x)).max() > 0
    export_head(model, "fused", INFO, tmp_path / "fused")
    served = tf.saved_model.load(str(tmp_path / "fused"))
    result = served.signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(
        result["probabilities"], stock[1](images), atol=1e-5
    )


def test_features_keep_their_precision():
    model = model_of(detach_fusion=True)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        outputs = model.detached_fusion()
    finally:
        keras.config.set_dtype_policy(policy)
    x, _ = data()
    found = keras.Model(model.input, outputs["fused"])(x)
    assert_close([found], [model.predict(x, verbose=0)["fused"]])


def test_masks_are_kept():
    def network(number):
        words = keras.Input((6,), dtype="int32")
        x = keras.layers.Embedding(5, 3, mask_zero=True)(words)
        pooled = keras.layers.GlobalAveragePooling1D()(x)
        logits = keras.layers.Dense(3)(pooled)
        return keras.Model(words, {"features": x, "logits": logits})

    networks = [network(number) for number in range(2)]
    model = FeatureFusionModel(
        networks, 0, fusion=keras.layers.Average(), detach_fusion=True
    )
    compiled(model)
    x = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 1, 0, 0, 0]])
    y = np.array([0, 2])
    logits = model.classifier("fused")(x)
    expected = mean_cross_entropy(y, logits)
    model.optimizer.learning_rate = 0.0
    logs = model.train_on_batch(x, y, return_dict=True)
    assert logs["ce_fused"] == pytest.approx(float(expected), rel=1e-5)
