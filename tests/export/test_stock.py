"""Heads of every method, rebuilt from Keras' own layers."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.builders import METHODS, branches, moved, subnetwork

from keras_ffl import FeatureFusionModel, InputError, VanillaModel, data
from keras_ffl.export import stock_head
from keras_ffl.export.stock import inference_classifier
from keras_ffl.layers import FeatureAverage, FusionModule
from keras_ffl.tasks import Regression

INFO = data.DatasetInfo(
    "toy", 3, (4, 4, 2), ("cat", "dog", "emu"), (120.0, 110), (60.0, 61), True
)


@pytest.fixture
def images():
    random = np.random.default_rng(1)
    return random.integers(0, 256, (7, *INFO.input_shape), dtype=np.uint8)


def expected(model, head, images):
    """Probabilities of the head by NumPy from the model's own logits."""
    x = ((images.astype("float64") - INFO.mean) / INFO.std).astype("float32")
    logits = model.classifier(head)(x, training=False).numpy()
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def is_stock(model):
    return all(
        type(operation).__module__.split(".")[0] == "keras"
        for operation in model.operations
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_head_agrees_and_is_stock(method, images, tmp_path):
    model = moved(METHODS[method]())
    for head in model.heads:
        stock = stock_head(model, head, INFO)
        assert is_stock(stock)
        probabilities = stock(images, training=False).numpy()
        assert_allclose(probabilities, expected(model, head, images), atol=2e-6)
        # The file gives the same bits.
        stock.save(tmp_path / f"{head}.keras")
        loaded = keras.models.load_model(tmp_path / f"{head}.keras")
        assert_array_equal(loaded(images).numpy(), probabilities)
        # Heads of frozen networks, such as mean teachers, can be fine-tuned.
        kernels = [w for w in loaded.weights if w.name == "kernel"]
        assert kernels and all(kernel.trainable for kernel in kernels)


def test_maps_of_different_sizes_and_averaged_maps(images):
    for fusion, networks in (
        (
            FusionModule("sum"),
            [subnetwork(name="a"), subnetwork(4, strides=2, name="b")],
        ),
        (FeatureAverage(), branches()),
    ):
        model = moved(FeatureFusionModel(networks, 0, fusion=fusion))
        stock = stock_head(model, "fused", INFO)
        assert is_stock(stock)
        assert_allclose(
            stock(images), expected(model, "fused", images), atol=2e-6
        )


def test_weights_are_copies(images):
    model = moved(METHODS["ffl"]())
    stock = stock_head(model, "fused", INFO)
    before = stock(images).numpy()
    for weight in model.weights:
        weight.assign(weight + 1)
    assert_array_equal(stock(images), before)
    own = {id(weight) for weight in model.weights}
    assert not own & {id(weight) for weight in stock.weights}


def test_half_precision_becomes_float32(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = moved(METHODS["one"]())
    stock = stock_head(model, "teacher", INFO)
    assert {layer.compute_dtype for layer in stock.layers[1:]} == {"float32"}
    keras.config.set_dtype_policy("float32")
    float_model = METHODS["one"]()
    for to, of in zip(float_model.weights, model.weights, strict=True):
        to.assign(of)
    assert_allclose(
        stock(images), expected(float_model, "teacher", images), atol=2e-6
    )


def test_nested_and_shared_layers(images):
    """A layer called twice and a model in a model in a model."""
    image = keras.Input(INFO.input_shape)
    twice = keras.layers.Conv2D(2, 3, padding="same", name="twice")
    inner = keras.Model(image, twice(keras.layers.ReLU()(twice(image))))
    again = keras.Input(INFO.input_shape)
    middle = keras.Model(again, inner(again))
    outer = keras.Input(INFO.input_shape)
    network = subnetwork(trunk=(outer, middle(outer)))
    model = moved(VanillaModel(network))
    stock = stock_head(model, "vanilla", INFO)
    assert stock.count_params() == model.classifier("vanilla").count_params()
    assert not any(isinstance(each, keras.Model) for each in stock.layers)
    assert_allclose(
        stock(images), expected(model, "vanilla", images), atol=2e-6
    )


def test_a_mask_passed_by_hand(images):
    image = keras.Input(INFO.input_shape)
    tokens = keras.layers.Reshape((16, 2))(image)
    bright = keras.ops.sum(tokens, axis=-1) > 0
    pooled = keras.layers.GlobalAveragePooling1D()(tokens, mask=bright)
    logits = keras.layers.Dense(3)(pooled)
    network = keras.Model(image, {"features": tokens, "logits": logits})
    model = moved(VanillaModel(network))
    truth = expected(model, "vanilla", images)
    assert_allclose(
        stock_head(model, "vanilla", INFO)(images), truth, atol=2e-6
    )
    logits = model.classifier("vanilla")
    x = data.normalize(images, INFO)
    assert_allclose(inference_classifier(logits)(x), logits(x), atol=1e-5)


def test_a_prediction_of_the_user_s_own(images):
    class Scaled(Regression):
        def prediction(self, outputs):
            return {"values": 100 * outputs + 7, "raw": outputs}

    model = moved(VanillaModel(subnetwork(), task=Scaled()))
    outputs = model.classifier("vanilla")(data.normalize(images, INFO))
    stock = stock_head(model, "vanilla", INFO)
    assert_allclose(stock(images), 100 * outputs + 7, rtol=1e-4)


def test_random_layers_draw_nothing(images):
    """Keras' own exporters don't say that they are not training."""
    image = keras.Input(INFO.input_shape)
    x = keras.layers.RandomTranslation(0.5, 0.5)(image)
    model = moved(VanillaModel(subnetwork(trunk=(image, x))))
    stock = stock_head(model, "vanilla", INFO)
    assert_allclose(
        stock(images), expected(model, "vanilla", images), atol=2e-6
    )
    tf = pytest.importorskip("tensorflow")
    graph = tf.function(stock).get_concrete_function(images).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not any("Random" in kind for kind in kinds)


def test_layer_that_hides_one_of_this_package_is_named():
    from keras_ffl.layers import BatchNormalization

    image = keras.Input(INFO.input_shape)
    x = keras.layers.Reshape((1, *INFO.input_shape))(image)
    x = keras.layers.TimeDistributed(BatchNormalization(), name="hides")(x)
    x = keras.layers.Reshape(INFO.input_shape)(x)
    model = VanillaModel(subnetwork(trunk=(image, x)))
    with pytest.raises(InputError, match="`head` vanilla can't be rebuilt"):
        stock_head(model, "vanilla", INFO)
    with pytest.raises(InputError, match="must be one of vanilla, got 'a'"):
        stock_head(model, "a", INFO)


@pytest.mark.parametrize("kind", ["lora", "int8"])
def test_layers_with_adapters_and_quantised_ones(kind, images):
    model = moved(VanillaModel(subnetwork()))
    names = ["net_conv", "net_dense"] if kind == "lora" else ["net_dense"]
    for name in names:
        layer = model.get_layer(name)
        layer.enable_lora(2) if kind == "lora" else layer.quantize("int8")
    moved(model, seed=4)
    stock = stock_head(model, "vanilla", INFO)
    assert_allclose(
        stock(images), expected(model, "vanilla", images), atol=2e-6
    )
    x = np.random.default_rng(2).normal(size=(3, *INFO.input_shape))
    classifier = model.classifier("vanilla")
    folded = inference_classifier(classifier)
    assert len(folded.layers) < len(classifier.layers)
    assert_allclose(folded(x), classifier(x), rtol=1e-5, atol=1e-5)


def test_quantised_layers_of_half_precision_stay_quantised(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = moved(VanillaModel(subnetwork()))
    model.get_layer("net_dense").quantize("int8")
    stock = stock_head(model, "vanilla", INFO)
    assert stock.get_layer("net_dense").dtype_policy.name == "int8_from_float32"
    assert_allclose(
        stock(images), expected(model, "vanilla", images), atol=5e-2
    )


def test_layer_that_cannot_be_copied_is_named():
    image = keras.Input(INFO.input_shape)
    twice = keras.layers.Lambda(lambda x: 2 * x, name="twice")
    model = VanillaModel(subnetwork(trunk=(image, twice(image))))
    with pytest.raises(InputError, match="can't be copied because of Lambda"):
        stock_head(model, "vanilla", INFO)


@pytest.mark.parametrize("name", ["preprocessing", "size", "probabilities"])
def test_names_that_the_user_gave_too(name, images):
    image = keras.Input(INFO.input_shape)
    x = keras.layers.Activation("tanh", name=name)(image)
    twice = keras.layers.Normalization(mean=1.0, variance=4.0, name="images")
    x = twice(twice(x))
    # Dissolved, both have a layer `a_b_c`.
    one, other = keras.Input(INFO.input_shape), keras.Input((4, 4, 2))
    c = keras.layers.Conv2D(2, 1, name="c")(one)
    b_c = keras.layers.Conv2D(2, 1, name="b_c")(other)
    x = keras.Model(one, c, name="a_b")(x)
    x = keras.Model(other, b_c, name="a")(x)
    model = moved(VanillaModel(subnetwork(trunk=(image, x))))
    stock = stock_head(model, "vanilla", INFO)
    assert_allclose(
        stock(images), expected(model, "vanilla", images), atol=2e-6
    )
