"""Copies have the graph and the values, and nothing else, of the original."""

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import moved

from keras_ffl import InputError, VanillaModel, as_subnetwork
from keras_ffl.optimizers import SGD

SHAPE = (8, 8, 3)
layers = keras.layers
register = keras.saving.register_keras_serializable(package="test_copying")


def images(count=4, shape=SHAPE):
    return np.random.default_rng(0).normal(size=(count, *shape))


def classifier(middle=lambda x: x, image=None, name="mine"):
    """A classifier of random weights with something behind its first layer."""
    image = keras.Input(SHAPE) if image is None else image
    x = middle(layers.Conv2D(4, 3, padding="same", name="conv")(image))
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="map")(x))
    return moved(
        keras.Model(image, layers.Dense(3, name="dense")(x), name=name)
    )


def values(model):
    return [ops.convert_to_numpy(v).copy() for v in model.variables]


def assert_copied(model, run, feature_layer="map", at=images()):
    """The copy computes the same from weights of its own."""
    before = values(model)
    copy = as_subnetwork(model, feature_layer)
    np.testing.assert_allclose(
        run(copy, at)["logits"], run(model, at), rtol=1e-6, atol=1e-6
    )
    mine = {id(variable) for variable in model.variables}
    assert not mine & {id(variable) for variable in copy.variables}
    for weight in copy.weights:
        weight.assign(np.zeros(weight.shape))
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def assert_file_keeps(network, folder, run):
    model = VanillaModel(network)
    loaded = reloaded(model, folder)
    np.testing.assert_array_equal(
        run(loaded, images())["vanilla"], run(model, images())["vanilla"]
    )
    assert loaded.count_params() == model.count_params()


def adapted(kind, **options):
    """A lookup that has learned its vocabulary from data."""
    layer = getattr(keras.layers, kind)(**options)
    words = {"IntegerLookup": [[3, 7], [7, 9]]}
    layer.adapt(np.array(words.get(kind, [["a", "b"], ["b", "c"]])))
    return layer


class Inside(keras.layers.Layer):
    """A layer of the user's with a lookup in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lookup = keras.layers.StringLookup(output_mode="multi_hot")

    def call(self, x):
        return self.lookup(x)

    def compute_output_shape(self, shape):
        return shape[0], self.lookup.vocabulary_size()


def inside():
    layer = Inside()
    layer.lookup.adapt(np.array(["a", "b", "c"]))
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: adapted("StringLookup", output_mode="multi_hot"),
        lambda: adapted("IntegerLookup", output_mode="multi_hot"),
        lambda: adapted(
            "IntegerLookup", output_mode="multi_hot", num_oov_indices=0
        ),
        lambda: adapted("StringLookup", output_mode="tf_idf"),
        lambda: adapted(
            "StringLookup",
            output_mode="tf_idf",
            max_tokens=9,
            pad_to_max_tokens=True,
        ),
        inside,
    ],
    ids=["strings", "integers", "known_integers", "idf", "padded", "inside"],
)
def test_an_adapted_vocabulary(make, run, tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow looks words up")
    layer = make()
    of_integers = isinstance(layer, keras.layers.IntegerLookup)
    words = keras.Input((2,), dtype="int64" if of_integers else "string")
    x = keras.layers.Dense(4, "relu", name="map")(layer(words))
    model = keras.Model(words, keras.layers.Dense(3)(x))
    at = ops.convert_to_tensor([[7, 9]] if of_integers else [["c", "a"]])
    expected = run(model, at)
    copy = as_subnetwork(model, "map", from_logits=True)
    found = run(copy, at)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    # Keras itself loads neither padded weights nor what is in another layer.
    if not (isinstance(layer, Inside) or layer.max_tokens):
        loaded = reloaded(VanillaModel(copy), tmp_path)
        found = run(loaded, at)["vanilla"]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["int", "tf_idf"])
def test_adapted_text(mode, run):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow looks words up")
    # Keras' file would take the first for two words.
    texts = ["x1\u2028x2 film", "bad film"]
    layer = keras.layers.TextVectorization(output_mode=mode)
    layer.adapt(texts)
    text = keras.Input((), dtype="string")
    x = keras.ops.cast(layer(text), "float32")
    if mode == "int":
        x = keras.ops.mean(x, axis=1, keepdims=True)
    x = keras.layers.Dense(4, "relu", name="map")(x)
    model = keras.Model(text, keras.layers.Dense(3)(x))
    at = ops.convert_to_tensor(texts)
    copy = as_subnetwork(model, "map", from_logits=True)
    np.testing.assert_allclose(
        run(copy, at)["logits"], run(model, at), rtol=1e-6, atol=1e-6
    )


# ----- values ---------------------------------------------------------------


def with_lora():
    model = classifier()
    for name in ("conv", "dense"):
        model.get_layer(name).enable_lora(2, lora_alpha=6)
    return moved(model, seed=2)


def test_lora(run):
    model = with_lora()
    copy = as_subnetwork(model, "map")
    for old, new in zip(model.weights, copy.weights, strict=True):
        assert (old.path, old.trainable) == (new.path, new.trainable)
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (old, new)))
    assert_copied(model, run)


def test_lora_trains():
    copy = as_subnetwork(with_lora(), "map")
    model = VanillaModel(copy)
    model.compile(SGD(0.1))
    before = {w.path: ops.convert_to_numpy(w).copy() for w in copy.weights}
    model.fit(images(), np.arange(4) % 3, verbose=0)
    moved = {
        weight.path
        for weight in copy.weights
        if np.any(ops.convert_to_numpy(weight) != before[weight.path])
    }
    adapters = {
        f"{layer}/lora_kernel_{k}" for layer in ("conv", "dense") for k in "ab"
    }
    assert adapters <= moved
    assert not {"conv/kernel", "dense/kernel"} & moved


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantised(mode, run, tmp_path):
    model = classifier()
    model.get_layer("dense").quantize(mode)
    assert_copied(model, run)
    copy = as_subnetwork(model, "map")
    assert copy.get_layer("dense").quantization_mode == mode
    assert_file_keeps(copy, tmp_path, run)


def test_training_the_copy_leaves_the_original(run):
    model = classifier()
    expected = run(model, images())
    copy = VanillaModel(as_subnetwork(model, "map"))
    copy.compile(SGD(0.1), run_eagerly=False)
    copy.fit(images(), np.arange(4) % 3, epochs=2, verbose=0)
    np.testing.assert_array_equal(run(model, images()), expected)


def test_checking_the_copy_leaves_the_original(run):
    """Batch normalisation that the graph itself puts in training mode."""
    training = layers.BatchNormalization(momentum=0.5)
    model = classifier(lambda x: training(x, training=True))
    assert_copied(model, run)


def test_random_generators_with_a_seed_go_on():
    given, not_given = layers.Dropout(0.5, seed=3), layers.Dropout(0.5)
    # In the graph's own training mode the numbers matter to the check.
    model = classifier(lambda x: not_given(given(x), training=True))
    for layer in (given, not_given):
        layer(np.ones((2, 3)), training=True)
    copy = as_subnetwork(model, "map")
    states = [
        ops.convert_to_numpy(layer.seed_generator.state).tolist()
        for layer in (
            given,
            not_given,
            copy.get_layer(given.name),
            copy.get_layer(not_given.name),
        )
    ]
    assert states[0] == states[2] and states[0][1] == 1
    assert states[1] != states[3]


def test_what_is_trainable():
    inner = classifier(name="inner")
    image = keras.Input(SHAPE)
    x = layers.Conv2D(3, 1, name="map")(image)
    model = keras.Model(image, layers.Dense(3)(inner(x)))
    # A frozen model but for one layer, and a variable that is frozen itself.
    inner.trainable = False
    inner.get_layer("conv").trainable = True
    model.get_layer("map").bias.trainable = False
    copy = as_subnetwork(model, "map")
    for old, new in zip(model.variables, copy.variables, strict=True):
        assert (old.path, old.trainable) == (new.path, new.trainable)
    paths = [
        [weight.path for weight in each.trainable_weights]
        for each in (model, copy)
    ]
    assert paths[0] == paths[1] and len(paths[0]) == 5


@pytest.mark.parametrize(
    "kind",
    [
        {"shape": (None, None, 3)},
        {"shape": SHAPE, "dtype": "uint8"},
        {"shape": SHAPE, "batch_size": 4},
    ],
    ids=["unknown size", "uint8", "batch size"],
)
def test_kinds_of_images(kind, run):
    image = keras.Input(**kind)
    inside = classifier()
    x = layers.Conv2D(3, 1, name="map")(ops.cast(image, "float32") / 255)
    model = keras.Model(image, layers.Dense(3)(inside(x)))
    at = np.random.default_rng(0).integers(0, 256, (4, *SHAPE))
    assert_copied(model, run, at=ops.convert_to_tensor(at, image.dtype))


def test_no_check_where_the_size_that_is_tried_does_not_fit(run):
    image = keras.Input((None, None, 3))
    # 8 x 8 images only.
    reshaped = layers.Reshape((8, 8, 4))
    assert_copied(classifier(lambda x: reshaped(x), image), run)


# ----- graphs ---------------------------------------------------------------


def nested(image, given):
    """A classifier on a nested backbone made of another tensor."""
    x = layers.Conv2D(4, 3, name="conv")(given)
    backbone = keras.Model(image, layers.BatchNormalization()(x), name="map")
    x = layers.GlobalAveragePooling2D()(backbone(given))
    return moved(keras.Model(image, layers.Dense(3)(x)))


def test_nested_backbone_on_the_image_itself(run, tmp_path):
    image = keras.Input(SHAPE)
    model = nested(image, image)
    assert_copied(model, run)
    assert_file_keeps(as_subnetwork(model, "map"), tmp_path, run)


def test_nested_backbone_on_what_it_has_been_made_of(run, tmp_path):
    """Its first layer stands in both graphs."""
    image = keras.Input(SHAPE)
    model = nested(image, layers.Conv2D(3, 1, name="first")(image))
    assert_copied(model, run)
    copy = as_subnetwork(model, "map")
    assert copy.count_params() == model.count_params()
    assert_file_keeps(copy, tmp_path, run)


def test_keras_application_with_input_tensor(run):
    image = keras.Input((32, 32, 3))
    backbone = keras.applications.MobileNetV2(
        input_tensor=image, alpha=0.35, include_top=False, weights=None
    )
    x = layers.GlobalAveragePooling2D()(backbone(image))
    model = keras.Model(image, layers.Dense(3)(x))
    assert_copied(model, run, backbone.name, images(2, (32, 32, 3)))


def test_shared_layers_stay_shared(run, tmp_path):
    twice = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 3, padding="same")],
        name="twice",
    )
    model = classifier(lambda x: twice(layers.ReLU()(twice(x))))
    copy = as_subnetwork(model, "map")
    assert len(copy.weights) == len(model.weights) == 10
    assert_copied(model, run)
    assert_file_keeps(copy, tmp_path, run)


@register
class Doubled(keras.Model):
    """A functional model that does more than run its graph."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training, mask)


def test_nested_model_with_a_call_of_its_own(run, tmp_path):
    image = keras.Input((8, 8, 4))
    inside = Doubled(image, layers.Conv2D(4, 1)(image))
    model = classifier(lambda x: inside(x))
    assert_copied(model, run)
    copy = as_subnetwork(model, "map")
    assert isinstance(copy.get_layer(inside.name), Doubled)
    assert_file_keeps(copy, tmp_path, run)


# ----- layers that need care -----------------------------------------------


@register
class Holder(layers.Layer):
    """A layer whose configuration holds a layer, not its configuration."""

    def __init__(self, inside, **kwargs):
        super().__init__(**kwargs)
        self.inside = inside

    def build(self, input_shape):
        if not self.inside.built:
            self.inside.build(input_shape)

    def call(self, inputs):
        return self.inside(inputs)

    def compute_output_shape(self, input_shape):
        return self.inside.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "inside": self.inside}

    @classmethod
    def from_config(cls, config):
        if isinstance(config["inside"], dict):
            inside = keras.saving.deserialize_keras_object(config["inside"])
            config = {**config, "inside": inside}
        return cls(**config)


def test_layer_in_a_configuration(run, tmp_path):
    model = classifier(Holder(layers.Conv2D(4, 3, padding="same")))
    assert_copied(model, run)
    assert_file_keeps(as_subnetwork(model, "map"), tmp_path, run)


def test_layer_shared_with_one_inside_another():
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    model = classifier(lambda x: Holder(shared)(shared(x)))
    with pytest.raises(InputError, match="because of Conv2D 'shared': .*share"):
        as_subnetwork(model, "map")


class Scaled(layers.Conv2D):
    """Its configuration, the convolution's, lacks an argument."""

    def __init__(self, *args, scale=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def call(self, inputs):
        return self.scale * super().call(inputs)


def test_configuration_that_lacks_an_argument(run):
    def model(scale):
        return classifier(Scaled(4, 1, scale=scale))

    assert_copied(model(1.0), run)
    with pytest.raises(InputError, match="the copy of 'mine' gives different"):
        as_subnetwork(model(1.5), "map")


class NoConfiguration(layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (
            lambda: layers.Lambda(lambda x: 2 * x, name="twice"),
            "Lambda 'twice': its function can't be saved; use keras",
        ),
        (
            lambda: NoConfiguration(lambda x: 2 * x),
            "NoConfiguration 'no_configuration': its configuration makes no",
        ),
    ],
    ids=["lambda", "no configuration"],
)
def test_layer_that_cannot_be_copied(layer, reason):
    with pytest.raises(
        InputError, match=f"^`model` can't be copied because of {reason}"
    ) as caught:
        as_subnetwork(classifier(layer()), "map")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="^`preprocessing` can't be copied"):
        as_subnetwork(classifier(), "map", preprocessing=layer())


def test_a_weight_that_the_graph_uses_beside_its_layer():
    """The copy would go on using it and never train it."""
    image = keras.Input(SHAPE)
    dense = layers.Dense(3, use_bias=False, name="map")
    tied = ops.matmul(dense(image), dense.kernel)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(tied))
    with pytest.raises(InputError, match="because of .*a weight of another la"):
        as_subnetwork(model, "map")


@register
def doubled(x):
    return 2 * x


def test_lambda_of_a_registered_function(run, tmp_path):
    model = classifier(layers.Lambda(doubled))
    assert_copied(model, run)
    assert_file_keeps(as_subnetwork(model, "map"), tmp_path, run)


def test_layer_that_runs_a_saved_model(tmp_path, run):
    pytest.importorskip("tensorflow")
    inside = moved(keras.Sequential([keras.Input((8, 8, 4)), layers.Dense(4)]))
    inside.export(tmp_path / "saved", verbose=False)
    layer = layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")
    model = classifier(layer)
    with pytest.raises(InputError, match="TFSMLayer .*enable_unsafe"):
        as_subnetwork(model, "map")
    # Until the session is cleared, before the next test.
    keras.config.enable_unsafe_deserialization()
    assert_copied(model, run)
    assert_file_keeps(as_subnetwork(model, "map"), tmp_path, run)


def test_lambda_that_its_file_does_not_carry():
    keras.config.enable_unsafe_deserialization()
    model = classifier(layers.Lambda(lambda x: ops.relu(x)))
    with pytest.raises(InputError, match="its copy can't be called"):
        as_subnetwork(model, "map")
