"""Which layer's output the features of a classifier are."""

import keras
import numpy as np
import pytest
from support.builders import moved

from keras_ffl import InputError, VanillaModel, as_subnetwork
from keras_ffl.models.subnetwork import as_teacher

layers = keras.layers
SHAPE = (8, 8, 3)


def images(count=3):
    random = np.random.default_rng(0)
    return random.normal(size=(count, *SHAPE)).astype("float32")


def classifier(*parts, name="mine", shape=SHAPE):
    """A chain of layers with weights that are not the initial ones."""
    image = keras.Input(shape)
    x = image
    for part in parts:
        x = part(x)
    return moved(keras.Model(image, x, name=name))


def maps():
    return [
        layers.Conv2D(6, 3, name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(name="map"),
    ]


def head():
    return [
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(5, activation="softmax", name="dense"),
    ]


def nested():
    """A classifier whose feature map is two nested models deep."""
    body = classifier(*maps(), name="body")
    backbone = classifier(body, layers.Dropout(0.1), name="backbone")
    return classifier(backbone, *head(), name="whole"), body


def expected(run, model, tensor, inputs=None):
    return run(keras.Model(inputs or model.inputs[0], tensor), images())


def same_softmax(logits, probabilities):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(softmax, probabilities, rtol=1e-4, atol=1e-7)


# ----- a layer, a name, a path --------------------------------------------


@pytest.mark.parametrize("given", ["name", "layer"])
def test_own_layer(given, run):
    model = classifier(*maps(), *head())
    layer = model.get_layer("map")
    network = as_subnetwork(model, layer if given == "layer" else "map")
    outputs = run(network, images())
    np.testing.assert_array_equal(
        outputs["features"], expected(run, model, layer.output)
    )
    same_softmax(outputs["logits"], run(model, images()))


@pytest.mark.parametrize(
    "given", ["backbone/body/map", "body/map", "map", "layer"]
)
def test_layer_inside_nested_models(given, run, tmp_path):
    model, body = nested()
    body.get_layer("bn").trainable = False
    layer = body.get_layer("map")
    before, outer = model.get_weights(), model.output
    network = as_subnetwork(model, layer if given == "layer" else given)
    outputs = run(network, images())
    np.testing.assert_array_equal(outputs["features"], run(body, images()))
    same_softmax(outputs["logits"], run(model, images()))
    # One graph, with the weights of the nested models and what is frozen.
    assert "backbone_body_map" in [each.name for each in network.layers]
    for one, other in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [w.path for w in network.trainable_weights] == [
        "backbone_body_conv/kernel",
        "backbone_body_conv/bias",
        "dense/kernel",
        "dense/bias",
    ]
    # The original stays as it is.
    assert model.output is outer and layer.output is body.output
    mine = {id(weight) for weight in model.weights}
    assert mine.isdisjoint(map(id, network.weights))

    method = VanillaModel(network)
    method.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        run(loaded, images())["vanilla"], outputs["logits"]
    )


def test_nested_model_stays_nested(run):
    model, body = nested()
    body.trainable = False
    for given in ("backbone/body", body, "backbone", None):
        network = as_subnetwork(model, given)
        outputs = run(network, images())
        np.testing.assert_array_equal(outputs["features"], run(body, images()))
        names = [layer.name for layer in network.layers]
        opened = given in ("backbone/body", body)
        assert ("backbone_body" if opened else "backbone") in names
        assert len(network.trainable_weights) == 2


def test_a_layer_that_several_nested_models_call(run):
    """A copy dissolves such models."""
    shared = layers.Conv2D(3, 1, name="shared")
    first = classifier(shared, layers.ReLU(name="map"), name="first")
    second = classifier(shared, name="second")
    model = classifier(first, second, layers.Flatten(), layers.Dense(3))
    maps_of = {"first/map": run(first, images())}
    maps_of["second"] = run(second, maps_of["first/map"])
    for given, wanted in maps_of.items():
        features = run(as_subnetwork(model, given), images())["features"]
        np.testing.assert_allclose(features, wanted, rtol=1e-5)


def test_a_whole_path_takes_precedence(run):
    body = classifier(*maps(), name="body")
    model = classifier(body, layers.ReLU(name="map"), *head())
    outputs = run(as_subnetwork(model, "map"), images())["features"]
    np.testing.assert_array_equal(
        outputs, expected(run, model, model.get_layer("map").output)
    )
    as_subnetwork(model, "body/map")


def tokens():
    """A classifier of tokens that takes the first one."""
    return classifier(
        layers.Conv2D(6, 4, 4, name="patches"),
        layers.Reshape((4, 6), name="tokens"),
        layers.LayerNormalization(name="norm"),
        lambda x: x[:, 0],
        layers.Dense(4, name="dense"),
        name="class_token",
    )


@pytest.mark.parametrize(
    "make, layer, shape",
    [
        (tokens, "norm", (None, 4, 6)),
        (lambda: classifier(*maps(), *head()), "pool", (None, 6)),
        (tokens, "patches", (None, 2, 2, 6)),
    ],
)
def test_ranks(make, layer, shape, run):
    model = make()
    network = as_subnetwork(model, layer)
    assert network.output["features"].shape == shape
    np.testing.assert_allclose(
        run(network, images())["features"],
        expected(run, model, model.get_layer(layer).output),
        rtol=1e-6,
    )


def test_channels_first_tokens():
    convolution = layers.Conv1D(
        4, 1, data_format="channels_first", name="steps"
    )
    model = classifier(
        layers.Reshape((24, 8)), convolution, layers.Flatten(), layers.Dense(3)
    )
    with pytest.raises(InputError, match="layer 'steps' puts the channels"):
        as_subnetwork(model, "steps")


# ----- what can't be taken ------------------------------------------------

BAD = {
    "nothing": "there is no layer 'nothing'",
    "dense": "'dense' gives the model's output",
    "image": "there is no layer 'image'",
    "split": "'split' has 2 outputs",
    "high": r"'high' gives shape \(None, 3, 2, 6, 6\)",
}


class Split(layers.Layer):
    def call(self, x):
        return x, x


@pytest.mark.parametrize("given", BAD)
def test_bad_feature_layer(given):
    model = classifier(
        *maps(),
        layers.Reshape((3, 2, 6, 6), name="high"),
        layers.Reshape((6, 6, 6), name="again"),
        Split(name="split"),
        lambda both: both[0],
        *head(),
    )
    with pytest.raises(InputError) as caught:
        as_subnetwork(model, given)
    assert "\n" not in str(caught.value)
    caught.match("^`feature_layer` must name a layer with one output")
    caught.match(f"{BAD[given]} in 'mine'; candidates, from the last: ")
    caught.match("from the last: pool, again, map, bn, conv; names that Keras")
    caught.match("pass the layer instead, or None for what the last pooling")


def test_names_that_keras_makes():
    """They differ in a second network; its layers and None don't."""

    def make():
        return classifier(layers.Conv2D(4, 3), layers.ReLU(), *head())

    first, second = make(), make()
    name = first.layers[2].name
    with pytest.raises(InputError, match=f"no layer '{name}' in .*: pool, re_"):
        as_subnetwork(second, name)
    with pytest.raises(InputError, match=f"there is no layer '{name}' in"):
        as_subnetwork(second, first.layers[2])
    networks = [as_subnetwork(first), as_subnetwork(second, second.layers[2])]
    assert [n.output["features"].shape for n in networks] == [
        (None, 6, 6, 4)
    ] * 2


def test_several_of_a_name_or_called_several_times():
    convolution = layers.Conv2D(3, 1, name="map")
    model = classifier(convolution, convolution, *head())
    with pytest.raises(InputError, match="'map' is called 2 times in 'mine'"):
        as_subnetwork(model, "map")
    # The tensor is known, whichever call it comes from.
    assert as_subnetwork(model).output["features"].shape == (None, 8, 8, 3)

    bodies = [classifier(*maps(), name=name) for name in ("one", "two")]
    model = classifier(
        lambda x: layers.Add()([body(x) for body in bodies]), *head()
    )
    with pytest.raises(InputError, match="'map' is one of one/map, two/map"):
        as_subnetwork(model, "map")

    twice = classifier(layers.Conv2D(3, 1, name="map"), name="twice")
    model = classifier(twice, twice, *head())
    with pytest.raises(InputError, match="'twice/map' is called 2 times in"):
        as_subnetwork(model, "twice/map")


def test_the_softmax_that_is_removed():
    model = classifier(
        *maps(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5, "softmax", name="dense"),
        layers.Activation("linear", name="linear"),
        layers.Identity(name="end"),
    )
    for given in ("dense", "linear"):
        with pytest.raises(InputError, match="before the activation"):
            as_subnetwork(model, given)


# ----- None ---------------------------------------------------------------


def scaled(x):
    """A squeeze-and-excitation block."""
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = layers.Dense(x.shape[-1], "sigmoid", name="gate")(weights)
    return layers.Multiply(name="scaled")([x, weights])


def two_poolings(x):
    return layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    )


def mean(*axes, **options):
    return lambda x: keras.ops.mean(x, axes, **options)


def parts_of_tokens(*pooling):
    return [
        layers.Reshape((16, 12)),
        layers.Dense(6, name="map"),
        *pooling,
        layers.Dense(3),
    ]


POOLED = {
    "average": lambda: [*maps(), *head()],
    "maximum": lambda: [*maps(), layers.GlobalMaxPooling2D(), layers.Dense(3)],
    "tokens": lambda: parts_of_tokens(layers.GlobalAveragePooling1D()),
    "mean of tokens": lambda: parts_of_tokens(mean(1)),
    "mean": lambda: [*maps(), mean(1, 2), layers.Dense(3)],
    "mean with negative axes": lambda: [
        *maps(),
        mean(-2, -3, keepdims=True),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "bare maximum": lambda: [
        *maps(),
        lambda x: keras.ops.max(x, (1, 2)),
        layers.Dense(3),
    ],
    "flatten": lambda: [*maps(), layers.Flatten(), layers.Dense(3)],
    "reshape": lambda: [*maps(), layers.Reshape((-1,)), layers.Dense(3)],
    "average before flatten": lambda: [
        *maps(),
        layers.AveragePooling2D(6),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "adaptive average and dropout before flatten": lambda: [
        *maps(),
        layers.AdaptiveAveragePooling2D(1),
        layers.Dropout(0.5),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "two poolings": lambda: [*maps(), two_poolings, layers.Dense(3)],
    "scaled before": lambda: [scaled, *maps(), *head()],
    "dropout and dense after": lambda: [
        *maps(),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(4, "relu"),
        layers.Dense(3),
    ],
    "convolutions after": lambda: [
        *maps(),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(8, 1, activation="relu"),
        layers.Conv2D(5, 1),
        layers.Flatten(),
        layers.Softmax(),
    ],
    "dropout before flatten": lambda: [
        *maps(),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Dropout(0.5),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "flatten one position": lambda: [
        layers.Conv2D(4, 8, name="map"),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "pooled head is nested": lambda: [
        *maps(),
        classifier(*head(), name="head", shape=(6, 6, 6)),
    ],
}


@pytest.mark.parametrize("kind", POOLED)
def test_what_the_last_pooling_takes(kind, run, caplog):
    model = classifier(*POOLED[kind]())
    network = as_subnetwork(model)
    wanted = model.get_layer("map").output
    assert network.output["features"].shape == wanted.shape
    np.testing.assert_allclose(
        run(network, images())["features"],
        expected(run, model, wanted),
        rtol=1e-6,
    )
    (line,) = [r.getMessage() for r in caplog.records]
    start = (
        f"as_subnetwork: the features of 'mine' are the output {wanted.shape}"
    )
    assert line.startswith(f"{start} of 'map', which '")


def test_a_block_that_only_scales_is_no_pooling():
    model = classifier(*maps(), scaled, *head())
    features = as_subnetwork(model).output["features"]
    assert features._keras_history.operation.name == "scaled"


def test_a_pooling_inside_a_nested_model(run):
    whole, body = nested()
    inner = keras.Model(whole.inputs[0], whole.layers[-2].output, name="inner")
    model = classifier(inner, layers.Dense(3))
    network = as_subnetwork(model)
    np.testing.assert_array_equal(
        run(network, images())["features"], run(body, images())
    )


def no_pooling():
    return classifier(*maps(), lambda x: x[:, 0, 0], layers.Dense(3))


def ensemble():
    """The mean of the logits of two networks."""

    def mean_of_two(x):
        pooled = layers.GlobalAveragePooling2D(name="pool")(x)
        both = [layers.Dense(3)(pooled) for _ in range(2)]
        return keras.ops.mean(keras.ops.stack(both, 1), 1)

    return classifier(*maps(), mean_of_two)


def test_a_mean_of_logits_is_no_pooling(run):
    features = as_subnetwork(ensemble()).output["features"]
    assert features._keras_history.operation.name == "map"


def branches():
    def pooled(x):
        parts = [layers.Conv2D(3, 1, name=f"conv_{k}")(x) for k in (1, 2)]
        return layers.Add()([layers.GlobalAveragePooling2D()(p) for p in parts])

    return classifier(pooled, layers.Dense(3))


@pytest.mark.parametrize(
    "make, candidates",
    [
        (tokens, "norm, tokens, patches"),
        (no_pooling, "map, bn, conv"),
        (branches, "add.*, global.*, conv_., conv_."),
        (lambda: classifier(layers.Flatten(), layers.Dense(3)), "flatten"),
        (
            lambda: classifier(
                layers.Rescaling(2.0),
                layers.BatchNormalization(name="norm"),
                layers.Flatten(),
                layers.Dense(4, name="hidden"),
                layers.Dense(3),
            ),
            "hidden, flatten, norm, rescaling",
        ),
    ],
)
def test_no_pooling(make, candidates):
    model = make()
    with pytest.raises(InputError) as caught:
        as_subnetwork(model)
    caught.match(f"^`feature_layer` must be given for '{model.name}', which")
    caught.match(f"candidates, from the last: {candidates}")
    assert "\n" not in str(caught.value)


def test_features_inside_a_frozen_classifier():
    """Such as a teacher: it stays one layer."""
    teacher = as_teacher(classifier(*maps(), *head()))
    model = classifier(teacher, layers.Dense(3))
    with pytest.raises(InputError, match="'teacher_network/map': it is ins"):
        as_subnetwork(model)
