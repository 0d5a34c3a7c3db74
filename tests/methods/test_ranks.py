"""Every method with tokens and vectors."""

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
    moved,
)

from keras_ffl import (
    FeatureFusionModel,
    InputError,
    VanillaModel,
    as_subnetwork,
)
from keras_ffl.export import export_head, stock_head
from keras_ffl.export.stock import inference_classifier
from keras_ffl.layers import FeatureAverage
from keras_ffl.methods import DualNetModel
from keras_ffl.optimizers import SGD
from keras_ffl.studies.pictures import grad_cam, grad_cam_plus_plus
from keras_ffl.studies.transfer import pooled_features

LAYERS = keras.layers
X, Y = data(8, image=ranks.IMAGE)
INFO = ranks.INFO

# The others take a minute more.
QUICK = ("ffl", "dualnet_vectors", "one_tokens")
PARAMS = [
    method
    if method.startswith(QUICK)
    else pytest.param(method, marks=pytest.mark.slow)
    for method in ranks.METHODS
]


@pytest.fixture(scope="module", params=PARAMS)
def trained(request, tmp_path_factory):
    """Name, model, weights before training, and a file of the model."""
    keras.utils.set_random_seed(0)
    # Compiled only once for each kind of features: it takes most of the time.
    model = compiled(
        ranks.METHODS[request.param](),
        SGD(0.05),
        run_eagerly=not request.param.startswith("ffl"),
    )
    before = model.get_weights()
    losses = model.fit(X, Y, 4, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    path = tmp_path_factory.mktemp(request.param) / "model.keras"
    model.save(path)
    return request.param, model, before, path


def test_everything_trains_and_files_hold_it(trained):
    _, model, before, path = trained
    frozen = {id(w) for w in model.non_trainable_weights}
    for old, weight in zip(before, model.weights, strict=True):
        # A bias of keys adds the same to all scores.
        if id(weight) not in frozen and "key/bias" not in weight.path:
            assert np.abs(old - weight.numpy()).max() > 0, weight.path
    loaded = keras.saving.load_model(path)
    logs = [each.train_on_batch(X, Y) for each in (model, loaded)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    assert_close(loaded.weights, model.weights, 1e-5)


def test_heads_and_features(trained):
    name, model, _, _ = trained
    maps = model.feature_maps()
    for head in maps:
        extractor = model.feature_extractor(head)
        assert extractor(X).shape[1:] == maps[head].shape[1:]
    rank = {"tokens": 3, "vectors": 2}.get(name.rsplit("_", 1)[1])
    if "_maps" not in name:
        assert {len(each.shape) for each in maps.values()} == {rank}
    for head in model.heads:
        assert model.classifier(head)(X).shape == (8, CLASSES)


def test_stock_and_folded_copies(trained):
    model = trained[1]
    images = np.random.default_rng(1).integers(0, 256, (5, *ranks.IMAGE))
    x = ((images - INFO.mean) / INFO.std).astype("float32")
    for head in model.heads:
        classifier = model.classifier(head)
        logits = classifier(x, training=False).numpy()
        folded = inference_classifier(classifier)
        np.testing.assert_allclose(
            folded(x, training=False), logits, rtol=1e-4, atol=1e-5
        )
        kinds = [type(layer).__name__ for layer in folded.layers]
        assert "BatchNormalization" not in kinds
        stock = stock_head(model, head, INFO)
        expected = keras.ops.softmax(logits)
        np.testing.assert_allclose(stock(images), expected, atol=5e-6)


def test_saved_model(trained, tmp_path):
    tf = pytest.importorskip("tensorflow")
    model, head = trained[1], trained[1].primary_head
    export_head(model, head, INFO, tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported"))
    images = np.random.default_rng(1).integers(0, 256, (5, *ranks.IMAGE))
    result = served.signatures["serving_default"](
        images=tf.constant(images, "uint8")
    )
    x = ((images - INFO.mean) / INFO.std).astype("float32")
    logits = model.classifier(head)(x)
    np.testing.assert_allclose(
        result["probabilities"], keras.ops.softmax(logits), atol=1e-5
    )


# ----- by hand ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tokens", "vectors"])
def test_fused_classifiers_by_hand(kind):
    for model in (
        moved(ranks.METHODS[f"ffl_{kind}"]()),
        moved(ranks.METHODS[f"dualnet_{kind}"]()),
    ):
        fused = model.feature_extractor("fused")(X).numpy().astype("float64")
        if isinstance(model, DualNetModel):
            parts = [model.feature_extractor(f"sub_{k}")(X) for k in (1, 2)]
            np.testing.assert_allclose(parts[0] + parts[1], fused, rtol=1e-6)
        pooled = fused.mean(axis=1) if kind == "tokens" else fused
        kernel, bias = model.get_layer("fused_classifier").get_weights()
        np.testing.assert_allclose(
            model(X)["fused"], pooled @ kernel + bias, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("kind", ["tokens", "vectors"])
def test_the_gate_takes_the_end_of_the_trunk(kind):
    model = moved(ranks.METHODS[f"one_{kind}"]())
    trunk = keras.Model(model.input, model.gate.input)
    end = {"tokens": "trunk_tokens", "vectors": "trunk_hidden"}[kind]
    assert trunk.layers[-1].name == end
    outputs = model(X)
    weights = model.gate(trunk(X)).numpy()
    logits = np.stack([outputs[f"sub_{k}"] for k in (1, 2)], axis=1)
    np.testing.assert_allclose(
        outputs["teacher"],
        (weights[:, :, None] * logits).sum(axis=1),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_mixture_becomes_a_map_or_tokens():
    assert ranks.METHODS["ffl_maps_tokens"]().fusion.output.shape == (
        (None, 4, 4, 4)
    )
    assert ranks.METHODS["ffl_class_token_maps"]().fusion.output.shape == (
        (None, 16, 4)
    )
    with pytest.raises(InputError, match="FusionModule can't join vectors"):
        FeatureFusionModel(ranks.networks("tokens", "vectors"), 0)


def test_averaged_tokens_train():
    model = FeatureFusionModel(ranks.pair("tokens"), 0, fusion=FeatureAverage())
    before = model.get_weights()
    compiled(model).fit(X, Y, verbose=0)
    assert largest_difference(before, model.get_weights()) > 1e-4
    stock = stock_head(model, "fused", INFO)
    logits = model.classifier("fused")((X * 0 - INFO.mean) / INFO.std)
    np.testing.assert_allclose(
        stock(X * 0), keras.ops.softmax(logits), atol=5e-6
    )


@pytest.mark.parametrize("layer", ["net_end", "net_pool"])
def test_as_subnetwork(layer):
    network = ranks.network("tokens")
    classifier = keras.Model(network.input, network.output["logits"])
    copy = as_subnetwork(classifier, layer)
    inner = keras.Model(network.input, network.get_layer(layer).output)
    np.testing.assert_array_equal(copy(X)["features"], inner(X))


# ----- what is made of the features -------------------------------------------


def test_grad_cam_of_tokens_is_that_of_their_map():
    image = keras.Input(ranks.IMAGE)
    features = LAYERS.Conv2D(3, 3, padding="same", name="conv")(image)
    tokens = LAYERS.Reshape((64, 3), name="tokens")(features)
    classify = LAYERS.Dense(CLASSES)
    models = [
        VanillaModel(
            keras.Model(image, {"features": x, "logits": classify(pool(x))})
        )
        for x, pool in (
            (features, LAYERS.GlobalAveragePooling2D()),
            (tokens, LAYERS.GlobalAveragePooling1D()),
        )
    ]
    for method in (grad_cam, grad_cam_plus_plus):
        expected, found = (method(model, X) for model in models)
        assert found.shape == (8, 8, 8) and found.max() > 0
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        named = method(models[1], X, layer="tokens")
        np.testing.assert_array_equal(named, found)


def test_grad_cam_needs_a_map():
    mixed = ranks.METHODS["ffl_class_token_maps"]()
    assert grad_cam(mixed, X).shape == (8, 4, 4)
    message = (
        r"^`head` 'sub_1' must have a feature map, .* a square number of "
        r"tokens; it has \(None, 17, 4\), so name a `layer` that has one$"
    )
    with pytest.raises(InputError, match=message):
        grad_cam(mixed, X, "sub_1")
    vectors = ranks.METHODS["ensemble_vectors"]()
    for head in ("sub_1", "ensemble"):
        with pytest.raises(InputError, match=rf"{head}.*it has \(None, 4\)"):
            grad_cam(vectors, X, head)
    with pytest.raises(InputError, match="'net_1_hidden' gives no feature map"):
        grad_cam(vectors, X, "sub_1", layer="net_1_hidden")


@pytest.mark.parametrize("kind", ["tokens", "vectors"])
def test_pooled_features(kind):
    extractor = ranks.METHODS[f"vanilla_{kind}"]().feature_extractor()
    images = np.random.default_rng(1).integers(0, 256, (5, *ranks.IMAGE))
    features = extractor((images - INFO.mean) / INFO.std).numpy()
    expected = features.mean(axis=1) if kind == "tokens" else features
    found = pooled_features(extractor, images.astype("uint8"), INFO)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
