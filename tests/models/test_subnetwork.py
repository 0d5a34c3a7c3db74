import keras
import numpy as np
import pytest
from support.builders import moved

from keras_ffl import VanillaModel
from keras_ffl.errors import InputError
from keras_ffl.methods import KnowledgeDistillationModel
from keras_ffl.models import as_subnetwork

SHAPE = (8, 8, 3)


def _images(count=4):
    return np.random.default_rng(0).normal(size=(count, *SHAPE))


def _layers(activation=None, **kwargs):
    return [
        keras.layers.Conv2D(6, 3, name="conv"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="map"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(5, activation, name="dense", **kwargs),
    ]


def _chain(layers, shape=SHAPE, name="mine"):
    image = keras.Input(shape, name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name=name)


def _unregistered_loss(labels, outputs):
    return keras.ops.mean(outputs, axis=-1)


def _softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _expected(run, model, feature_layer="map"):
    features = keras.Model(
        model.inputs[0], model.get_layer(feature_layer).output
    )
    return (
        run(features, _images()),
        run(model, _images()),
    )


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_features_and_logits(kind, run):
    layers = _layers()
    if kind == "functional":
        model = _chain(layers)
    else:
        model = keras.Sequential([keras.Input(SHAPE), *layers], name="mine")
    moved(model)
    subnetwork = as_subnetwork(model, "map")
    assert subnetwork.name == "mine"
    assert subnetwork.output["features"].shape == (None, 6, 6, 6)
    assert subnetwork.output["logits"].shape == (None, 5)
    outputs = run(subnetwork, _images())
    features, logits = _expected(run, model)
    np.testing.assert_array_equal(outputs["features"], features)
    np.testing.assert_array_equal(outputs["logits"], logits)


ENDINGS = {
    "dense": lambda: _layers("softmax"),
    "activation": lambda: [
        *_layers(),
        keras.layers.Activation("softmax", name="end"),
    ],
    "layer": lambda: [*_layers(), keras.layers.Softmax(name="end")],
    "dense_and_linear": lambda: [
        *_layers("softmax"),
        keras.layers.Activation("linear", name="end"),
    ],
    "convolution_and_reshape": lambda: [
        *_layers()[:3],
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        keras.layers.Conv2D(5, 1, activation="softmax"),
        keras.layers.Flatten(),
    ],
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_softmax_becomes_logits(kind, ending, run):
    layers = ENDINGS[ending]()
    if kind == "functional":
        model = _chain(layers)
    else:
        model = keras.Sequential([keras.Input(SHAPE), *layers])
    subnetwork = as_subnetwork(moved(model), "map", name="other")
    assert subnetwork.name == "other"
    outputs = run(subnetwork, _images())
    features, probabilities = _expected(run, model)
    np.testing.assert_array_equal(outputs["features"], features)
    assert np.abs(outputs["logits"].sum(-1) - 1).min() > 1e-2
    np.testing.assert_allclose(
        _softmax(outputs["logits"]), probabilities, rtol=1e-5
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_original_stays_as_it_is(ending):
    model = _chain(ENDINGS[ending]())
    model.compile("sgd", _unregistered_loss)
    config, weights = model.to_json(), model.get_weights()
    subnetwork = as_subnetwork(model, "map", trainable=False)
    moved(subnetwork)
    assert model.to_json() == config
    assert model.trainable and len(model.trainable_weights) == 6
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(before, after)
    assert not {id(layer) for layer in model.layers} & {
        id(layer) for layer in subnetwork.layers
    }


@pytest.mark.parametrize(
    "application, feature_layer",
    [
        # The first ends in a dense layer, the second in a convolution,
        # a reshape and an activation.
        (keras.applications.MobileNetV2, "out_relu"),
        (keras.applications.MobileNet, "conv_pw_13_relu"),
    ],
)
def test_keras_application(application, feature_layer, run):
    model = application(
        input_shape=(32, 32, 3), alpha=0.1, weights=None, classes=4
    )
    subnetwork = as_subnetwork(model, feature_layer)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    outputs = run(subnetwork, images)
    channels = model.get_layer(feature_layer).output.shape[-1]
    assert outputs["features"].shape == (2, 1, 1, channels)
    np.testing.assert_allclose(
        _softmax(outputs["logits"]),
        run(model, images),
        rtol=1e-5,
    )


def test_nested_model_at_the_end(run):
    head = _chain([_layers("softmax")[-1]], (6,), "head")
    model = moved(_chain([*_layers()[:-1], head]))
    subnetwork = as_subnetwork(model, "map")
    np.testing.assert_allclose(
        _softmax(run(subnetwork, _images())["logits"]),
        run(model, _images()),
        rtol=1e-5,
    )


def test_frozen():
    subnetwork = as_subnetwork(moved(_chain(_layers())), "map", False)
    assert subnetwork.trainable_weights == []
    before = subnetwork.get_weights()
    inference = subnetwork(_images())["features"]
    training = subnetwork(_images(), training=True)["features"]
    np.testing.assert_array_equal(training, inference)
    for old, new in zip(before, subnetwork.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_trainable_keeps_what_the_model_has_frozen():
    model = _chain(_layers())
    model.get_layer("conv").trainable = False
    subnetwork = as_subnetwork(model, "map")
    names = [weight.path for weight in subnetwork.trainable_weights]
    assert names == ["bn/gamma", "bn/beta", "dense/kernel", "dense/bias"]
    before = subnetwork.get_layer("bn").get_weights()[2]
    subnetwork(_images(), training=True)
    assert np.abs(subnetwork.get_layer("bn").get_weights()[2] - before).max()


def test_adapted_normalization(run):
    normalization = keras.layers.Normalization()
    normalization.adapt(_images(100) * 3 + 2)
    model = _chain([normalization, *_layers()])
    outputs = run(as_subnetwork(model, "map"), _images())
    features, logits = _expected(run, model)
    np.testing.assert_array_equal(outputs["features"], features)
    np.testing.assert_array_equal(outputs["logits"], logits)


def _nested():
    backbone = _chain(_layers()[:3], name="backbone")
    image = keras.Input(SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(backbone(image))
    outputs = keras.layers.Dense(5, activation="softmax")(x)
    return moved(keras.Model(image, outputs, name="whole")), backbone


def test_nested_model_as_feature_layer(run):
    model, backbone = _nested()
    backbone.trainable = False
    subnetwork = as_subnetwork(model, "backbone")
    outputs = run(subnetwork, _images())
    np.testing.assert_array_equal(outputs["features"], run(backbone, _images()))
    np.testing.assert_allclose(
        _softmax(outputs["logits"]),
        run(model, _images()),
        rtol=1e-5,
    )
    assert len(subnetwork.trainable_weights) == 2
    assert subnetwork.get_layer("backbone") is not backbone


def test_saves_and_loads(tmp_path, run):
    subnetwork = as_subnetwork(moved(_chain(_layers("softmax"))), "map")
    expected = run(subnetwork, _images())
    subnetwork.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    outputs = run(loaded, _images())
    for key in ("features", "logits"):
        np.testing.assert_array_equal(outputs[key], expected[key])


@pytest.mark.parametrize("end", ["activation", "softmax", "dense"])
def test_float32_end_of_a_half_precision_model(end, run):
    keras.config.set_dtype_policy("mixed_bfloat16")
    if end == "dense":
        layer = keras.layers.Activation("linear", dtype="float32")
        layers = [*_layers("softmax"), layer]
    elif end == "softmax":
        layers = [*_layers(), keras.layers.Softmax(dtype="float32")]
    else:
        layer = keras.layers.Activation("softmax", dtype="float32")
        layers = [*_layers(), layer]
    subnetwork = as_subnetwork(_chain(layers), "map")
    assert subnetwork.output["features"].dtype == "bfloat16"
    assert subnetwork.output["logits"].dtype == "float32"
    logits = run(subnetwork, _images())["logits"]
    assert np.abs(logits.sum(-1) - 1).min() > 1e-3


@pytest.mark.parametrize(
    "end, message",
    [
        (lambda: _layers("sigmoid"), "'dense' with activation sigmoid"),
        (
            lambda: [*_layers(), keras.layers.Activation("tanh", name="end")],
            "'end' with activation tanh",
        ),
        (
            lambda: [*_layers("sigmoid"), keras.layers.Dropout(0.5)],
            "'dense' with activation sigmoid",
        ),
        (
            lambda: [*_layers(), keras.layers.ReLU(name="end")],
            "the activation layer 'end'",
        ),
        (
            lambda: [*_layers(), keras.ops.relu],
            "the bare operation 'relu",
        ),
        (
            lambda: [
                keras.layers.Identity(name="map"),
                keras.layers.Flatten(),
            ],
            "nothing classifies",
        ),
    ],
)
def test_bad_ending(end, message):
    model = _chain(end())
    with pytest.raises(
        InputError, match=f"`model` must end in logits .*{message}"
    ):
        as_subnetwork(model, "map")


def _adapted():
    layer = keras.layers.Normalization()
    layer.adapt(_images(50) * 3 + 2)
    return layer


PREPROCESSING = {
    "layer": lambda: keras.layers.Rescaling(2.0, 0.5),
    "layer_with_state": _adapted,
    "sequential": lambda: keras.Sequential([keras.layers.Rescaling(3.0)]),
    "functional": lambda: _chain([keras.layers.Rescaling(2.0, 0.5)]),
    "function": lambda: lambda x: keras.ops.flip(x, axis=-1) * 2.0 + 0.5,
    "identity": lambda: lambda x: x,
}


@pytest.mark.parametrize("kind", PREPROCESSING)
def test_preprocessing(kind, run):
    preprocessing = PREPROCESSING[kind]()
    model = moved(_chain(_layers("softmax")))
    plain = as_subnetwork(model, "map")
    subnetwork = as_subnetwork(model, "map", preprocessing=preprocessing)
    assert subnetwork.name == "mine"
    assert subnetwork.input_shape == (None, *SHAPE)
    images = keras.ops.cast(_images(), "float32")
    expected = run(plain, preprocessing(images))
    outputs = run(subnetwork, images)
    for key in ("features", "logits"):
        np.testing.assert_allclose(
            outputs[key], expected[key], rtol=1e-5, atol=1e-6
        )
    assert (kind == "identity") == np.allclose(
        outputs["features"], run(plain, images)["features"]
    )


def test_preprocessing_with_an_image_shape_of_its_own(run):
    resize = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.UpSampling2D(2)]
    )
    model = moved(_chain(_layers()))
    subnetwork = as_subnetwork(model, "map", preprocessing=resize)
    assert subnetwork.input_shape == (None, 4, 4, 3)
    assert subnetwork.output["features"].shape == (None, 6, 6, 6)
    images = _images()[:, ::2, ::2]
    np.testing.assert_array_equal(
        run(subnetwork, images)["logits"],
        run(model, images.repeat(2, axis=1).repeat(2, axis=2)),
    )


def test_preprocessing_is_a_copy(run):
    scale = keras.layers.Dense(3, use_bias=False)
    model = _chain(_layers())
    subnetwork = as_subnetwork(
        model, "map", trainable=False, preprocessing=scale
    )
    assert subnetwork.trainable_weights == [] and len(subnetwork.weights) == 9
    expected = run(subnetwork, _images())
    scale.set_weights([np.zeros((3, 3))])
    np.testing.assert_array_equal(
        run(subnetwork, _images())["logits"], expected["logits"]
    )
    assert scale.trainable and np.ptp(expected["logits"]) > 0


@pytest.mark.parametrize("kind", ["layer_with_state", "function"])
def test_preprocessing_saves_and_loads(kind, tmp_path, run):
    subnetwork = as_subnetwork(
        moved(_chain(_layers("softmax"))),
        "map",
        preprocessing=PREPROCESSING[kind](),
    )
    expected = run(subnetwork, _images())
    subnetwork.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    outputs = run(loaded, _images())
    for key in ("features", "logits"):
        np.testing.assert_array_equal(outputs[key], expected[key])


@pytest.mark.parametrize(
    "preprocessing, message",
    [
        ("caffe", "a Keras layer, a model or a function, got 'caffe'"),
        (
            keras.layers.Flatten(),
            r"the shape that 'mine' takes, \(None, 8, 8, 3\), got <KerasTensor",
        ),
        (keras.layers.ZeroPadding2D(1), r"shape=\(None, 10, 10, 3\)"),
        (lambda x: [x, x], r"got \[<KerasTensor"),
    ],
)
def test_bad_preprocessing(preprocessing, message):
    with pytest.raises(InputError, match=f"^`preprocessing` must .*{message}"):
        as_subnetwork(_chain(_layers()), "map", preprocessing=preprocessing)


def test_bad_model():
    with pytest.raises(InputError, match="functional or a built Sequential"):
        as_subnetwork(keras.Sequential(_layers()), "map")
    with pytest.raises(InputError, match="functional or a built .* got int"):
        as_subnetwork(3, "map")

    model = _chain(_layers())
    two = keras.Model(model.input, [model.output, model.output])
    with pytest.raises(InputError, match="one output, 'two' has 2"):
        two.name = "two"
        as_subnetwork(two, "map")

    maps = _chain(_layers()[:3])
    with pytest.raises(InputError, match=r"one logit for .*\(None, 6, 6, 6\)"):
        as_subnetwork(maps, "map")


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_one_logit(activation):
    model = _chain([*_layers()[:-1], keras.layers.Dense(1, activation)])
    message = r"`model` .* must give .* at least 2 classes, .* \(None, 1\)"
    with pytest.raises(InputError, match=message):
        as_subnetwork(model, "map")


def test_random_layers_draw_in_training_only(run):
    """Keras' own draw where nobody says whether it is training."""
    model = _chain([keras.layers.RandomTranslation(0.5, 0.5), *_layers()])
    subnetwork = as_subnetwork(model, "map")
    before = subnetwork.get_weights()
    images = _images().astype("float32")
    logits = keras.ops.convert_to_numpy(subnetwork(images)["logits"])
    np.testing.assert_array_equal(logits, run(subnetwork, images)["logits"])
    # They would put the batch normalisation behind them into training.
    for one, other in zip(subnetwork.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    drawn = [subnetwork(images, training=True)["features"] for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3


class Scaling(keras.Model):
    """A functional model with a `call` of its own."""

    def call(self, inputs):
        return super().call(2 * inputs)


def test_a_call_of_the_class():
    model = _chain(_layers())
    own = Scaling(model.input, model.output)
    message = "plain functional model, got Scaling, whose own `call`"
    with pytest.raises(InputError, match=f"^`model` must be a {message}"):
        as_subnetwork(own)
    with pytest.raises(InputError, match=f"^`teacher` must be a {message}"):
        KnowledgeDistillationModel(as_subnetwork(model), own)
    copy = as_subnetwork(model)
    with pytest.raises(InputError, match=f"`network` must be a {message}"):
        VanillaModel(Scaling(copy.input, copy.output))
    # Within another model it is kept.
    image = keras.Input(SHAPE)
    nested = keras.Model(image, own(image))
    method = KnowledgeDistillationModel(copy, nested, teacher_from_logits=True)
    x = _images()
    np.testing.assert_allclose(method.teacher(x), own(x), rtol=1e-5)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_words_as_input(activation):
    words = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(4, 5)(words)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(words, keras.layers.Dense(3, activation)(x))
    copy = as_subnetwork(model, from_logits=activation is None)
    y = np.arange(12).reshape(2, 6) % 4
    found = copy(y)["logits"]
    if activation:
        found = keras.ops.softmax(found)
    np.testing.assert_allclose(found, model(y), rtol=1e-5)


def test_text_as_input():
    pytest.importorskip("tensorflow")
    text = keras.Input((), dtype="string")
    count = keras.layers.TextVectorization(
        output_mode="multi_hot", vocabulary=["a", "b", "c"]
    )
    x = keras.layers.Dense(5, "relu", name="hidden")(count(text))
    model = keras.Model(text, keras.layers.Dense(3)(x))
    copy = as_subnetwork(model, "hidden", from_logits=True)
    assert copy.output["features"].shape == (None, 5)
