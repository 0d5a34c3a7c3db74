"""`.keras` files: the compiled model goes on as if it had never stopped."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    IMAGE,
    METHODS,
    branches,
    compiled,
    data,
    ffl,
    moved,
    separate,
    subnetwork,
)

from keras_ffl import FeatureFusionModel, OneModel, as_subnetwork
from keras_ffl.layers import BatchNormalization, FeatureAverage, FusionModule
from keras_ffl.layers.batch_normalization import synchronized_batch_norm
from keras_ffl.models import resnet, wide_resnet
from keras_ffl.optimizers import SGD, set_decay_group


@keras.saving.register_keras_serializable(package="test")
class SumOfMaps(keras.layers.Layer):
    """A user's own fusion, with a weight and an argument."""

    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight(
            initializer=keras.initializers.Constant(self.start), name="factor"
        )

    def call(self, inputs):
        return self.factor * sum(inputs)

    def get_config(self):
        return {**super().get_config(), "start": self.start}


def step(model, epochs=3):
    x, y = data()
    return model.fit(
        x, y, batch_size=len(x), epochs=epochs, verbose=0, shuffle=False
    )


def saved_and_loaded(model, folder, **kwargs):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras", **kwargs)


def assert_same(one, other):
    """Weights in order, optimizer and all outputs."""
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    x, _ = data(5, seed=1)
    logits = other(x)
    for head, values in one(x).items():
        np.testing.assert_array_equal(values, logits[head])


def assert_same_optimizer(one, other):
    assert one.optimizer.get_config() == other.optimizer.get_config()
    for a, b in zip(
        one.optimizer.variables, other.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


@pytest.mark.parametrize(
    ("make", "run_eagerly"), [(branches, False), (separate, True)]
)
def test_three_steps_and_three_more_are_six(make, run_eagerly, tmp_path):
    def model():
        keras.utils.set_random_seed(5)
        # Large decays, so that a lost group would show.
        optimizer = SGD(
            0.05, weight_decay=0.3, weight_decay_groups={"fusion": 0.01}
        )
        return compiled(
            ffl(make(), rampup_epochs=8, temperature=2.0),
            optimizer=optimizer,
            metrics=["accuracy"],
            run_eagerly=run_eagerly,
        )

    whole, first = model(), model()
    expected = step(whole, 6).history
    step(first)
    second = saved_and_loaded(first, tmp_path)
    assert type(second) is FeatureFusionModel
    assert int(second.epochs_trained.numpy()) == 3
    assert int(second.optimizer.iterations.numpy()) == 3
    assert second.run_eagerly is run_eagerly
    assert_same(first, second)
    assert_same_optimizer(first, second)
    decays = [
        [model.optimizer.decay_of(v) for v in model.trainable_variables]
        for model in (first, second)
    ]
    assert decays[0] == decays[1]
    assert set(decays[0]) == {0.3, 0.01}

    history = step(second).history
    assert set(history) == set(expected)
    for name, values in history.items():
        assert values == pytest.approx(expected[name][3:], rel=1e-6), name
    for a, b in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_allclose(
            a.numpy(), b.numpy(), rtol=1e-6, atol=1e-7, err_msg=a.path
        )


def test_operations_that_keras_named(tmp_path):
    """New ones don't get the names of a loaded graph, in a new process."""
    image = keras.Input(IMAGE)
    x = image / 2.0 + image
    for _ in range(4):
        x = keras.layers.Add()([x, image])
    trunk = image, x
    networks = [subnetwork(trunk=trunk, name=f"net_{k}") for k in (1, 2)]
    x = np.random.default_rng(0).normal(size=(3, *IMAGE)).astype("float32")
    model = FeatureFusionModel(networks, 0)
    expected = model.classifier("ensemble")(x)
    model.save(tmp_path / "model.keras")
    keras.utils.clear_session()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.classifier("ensemble")(x), expected)


@pytest.mark.parametrize(
    ("fusion", "channels"),
    [
        (lambda: FusionModule(filters=5, kernel_size=1, name="mine"), 5),
        (FeatureAverage, 3),
        (lambda: SumOfMaps(start=0.5), 3),
    ],
    ids=["module", "average", "user's own"],
)
def test_every_fusion(fusion, channels, tmp_path):
    model = compiled(ffl(fusion=fusion()), run_eagerly=True)
    step(model, 1)
    loaded = saved_and_loaded(model, tmp_path)
    assert type(loaded.fusion) is type(model.fusion)
    assert loaded.fusion.name == model.fusion.name
    assert loaded.fusion.get_config() == model.fusion.get_config()
    assert loaded.fusion.output.shape[-1] == channels
    assert_same(model, loaded)
    groups = [
        [getattr(v, "decay_group", None) for v in m.trainable_variables]
        for m in (model, loaded)
    ]
    assert groups[0] == groups[1]
    own = len(model.fusion.trainable_variables)
    assert groups[0].count("fusion") == own + 2


@pytest.mark.parametrize("several", [False, True])
def test_weights_that_an_optimizer_does_not_decay(several, tmp_path):
    model = ffl()
    optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    if several:
        optimizer = keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(optimizer)
        )
    step(compiled(model, optimizer=optimizer), 1)
    loaded = saved_and_loaded(model, tmp_path)
    step(model, 1)
    step(loaded, 1)
    assert_same(model, loaded)


@pytest.mark.parametrize("scaled", [False, True])
def test_weights_with_decays_of_their_own(scaled, tmp_path):
    optimizer = inner = SGD(
        weight_decay=0.5, weight_decay_groups={"fusion": 0.25, "mine": 0.125}
    )
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
    model = ffl()
    set_decay_group([w for w in model.weights if w.name == "bias"], "mine")
    set_decay_group(model.fused_head.weights, None)
    inner.exclude_from_weight_decay(var_names=["gamma"])
    step(compiled(model, optimizer=optimizer), 1)
    loaded = saved_and_loaded(model, tmp_path)
    found, expected = (
        [
            getattr(m.optimizer, "inner_optimizer", m.optimizer).decay_of(v)
            for v in m.trainable_variables
        ]
        for m in (loaded, model)
    )
    assert found == expected and set(found) == {0.0, 0.125, 0.25, 0.5}
    step(model, 1)
    step(loaded, 1)
    assert_same(model, loaded)


def test_a_fusion_that_is_not_registered(tmp_path):
    class Loose(SumOfMaps):
        pass

    model = ffl(fusion=Loose())
    loaded = saved_and_loaded(model, tmp_path, custom_objects={"Loose": Loose})
    assert type(loaded.fusion) is Loose
    assert_same(model, loaded)


@pytest.mark.parametrize(
    "options",
    [
        {"use_ekd": False},
        {"use_fkd": False},
        {"temperature": 1.5, "rampup_epochs": 2.5, "name": "my_model"},
    ],
)
def test_options(options, tmp_path):
    model = ffl(**options)
    loaded = saved_and_loaded(model, tmp_path)
    for name in ("use_ekd", "use_fkd", "temperature", "rampup_epochs", "name"):
        value = getattr(loaded, name)
        assert value == getattr(model, name) == options.get(name, value)


def test_branches_still_share_their_trunk(tmp_path):
    model = FeatureFusionModel.from_branches(
        "resnet8",
        num_classes=CLASSES,
        rampup_epochs=3,
        input_shape=(8, 8, 2),
    )
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.count_params() == model.count_params()
    assert [layer.name for layer in loaded.layers] == [
        layer.name for layer in model.layers
    ]
    x, _ = data(2, image=(8, 8, 2))
    expected = model(x)
    for head, logits in loaded(x).items():
        np.testing.assert_array_equal(logits, expected[head])


def test_a_mixed_pair(tmp_path):
    image = (8, 8, 2)
    pair = [resnet(8, CLASSES, image), wide_resnet(10, 1, CLASSES, image)]
    model = ffl(pair)
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.count_params() == model.count_params()
    x, _ = data(2, image=(8, 8, 2))
    expected = model(x)
    for head, logits in loaded(x).items():
        np.testing.assert_array_equal(logits, expected[head])


def test_a_frozen_subnetwork_stays_frozen(tmp_path):
    image = keras.Input(IMAGE)
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = keras.layers.BatchNormalization(name="features")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    classifier = keras.Model(image, keras.layers.Dense(CLASSES)(x))
    frozen = as_subnetwork(classifier, "features", trainable=False)
    model = compiled(
        ffl([subnetwork(4), frozen]), optimizer=SGD(0.1), run_eagerly=True
    )
    step(model, 1)
    loaded = saved_and_loaded(model, tmp_path)
    assert_same(model, loaded)
    assert_same_optimizer(model, loaded)
    names = [
        [v.path.split("/")[-2:] for v in m.trainable_variables]
        for m in (model, loaded)
    ]
    assert names[0] == names[1]
    before = loaded.classifier("sub_2").get_weights()
    step(loaded, 1)
    for old, new in zip(before, loaded.classifier("sub_2").get_weights()):
        np.testing.assert_array_equal(old, new)


def test_learning_rate_schedule_and_metric_objects(tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=6)
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")
    model = compiled(
        optimizer=SGD(schedule, global_clipnorm=1.0),
        metrics={"fused": [top2], "ensemble": ["accuracy"]},
        weighted_metrics=["accuracy"],
        run_eagerly=True,
    )
    step(model, 2)
    loaded = saved_and_loaded(model, tmp_path)
    assert_same_optimizer(model, loaded)
    rates = [float(m.optimizer.learning_rate) for m in (model, loaded)]
    assert rates[0] == rates[1] == pytest.approx(0.075, rel=1e-6)
    one, two = step(model, 1).history, step(loaded, 1).history
    assert "fused_top2" in one
    assert one == two


@pytest.mark.parametrize("policy", ["mixed_float16", "float32"])
def test_half_precision_under_any_policy(policy, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model = compiled(optimizer=SGD(0.05), run_eagerly=True)
    step(model, 1)
    keras.config.set_dtype_policy(policy)
    loaded = saved_and_loaded(model, tmp_path)
    for one in (model, loaded):
        scaled = keras.optimizers.LossScaleOptimizer
        assert isinstance(one.optimizer, scaled)
        assert isinstance(one.optimizer.inner_optimizer, SGD)
        assert one.fusion.compute_dtype == "float16"
        assert one.get_layer("net_1_conv").compute_dtype == "float16"
        assert one.get_layer("fused_classifier").compute_dtype == "float32"
    assert_same(model, loaded)
    assert_same_optimizer(model, loaded)
    assert step(model, 1).history == step(loaded, 1).history


def test_a_float32_model_under_mixed_float16(tmp_path):
    model = compiled(optimizer=SGD(0.05), run_eagerly=True)
    step(model, 1)
    keras.config.set_dtype_policy("mixed_float16")
    loaded = saved_and_loaded(model, tmp_path)
    assert_same(model, loaded)
    assert_same_optimizer(model, loaded)
    assert step(model, 1).history == step(loaded, 1).history


def test_float64_beside_float32(tmp_path):
    keras.config.set_dtype_policy("float64")
    model = compiled(run_eagerly=True)
    step(model, 1)
    wide = subnetwork(name="wide")
    keras.config.set_dtype_policy("float32")
    loaded = saved_and_loaded(model, tmp_path)
    assert {z.dtype for z in loaded.output.values()} == {"float64"}
    assert_same(model, loaded)
    assert step(model, 1).history == step(loaded, 1).history
    for networks in ([wide, subnetwork()], [subnetwork(), wide]):
        mixed = compiled(ffl(networks))
        assert {z.dtype for z in mixed.output.values()} == {"float64"}
        assert np.isfinite(step(mixed, 1).history["loss"]).all()
        wide = keras.models.clone_model(wide)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
def test_every_layer_keeps_its_dtype(method, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = moved(METHODS[method]())
    keras.config.set_dtype_policy("float32")
    assert_same(model, saved_and_loaded(model, tmp_path))


def test_networks_in_float16_get_a_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    networks = branches()
    keras.config.set_dtype_policy("float32")
    scaled = keras.optimizers.LossScaleOptimizer
    assert isinstance(compiled(ffl(networks)).optimizer, scaled)
    model = compiled(ffl(networks), auto_scale_loss=False)
    assert not isinstance(model.optimizer, scaled)


def test_loaded_without_compiling(tmp_path):
    model = compiled(metrics=["accuracy"])
    loaded = saved_and_loaded(model, tmp_path, compile=False)
    assert not loaded.compiled
    assert_same(model, loaded)
    compiled(loaded, run_eagerly=True)
    step(loaded, 1)


def test_a_loaded_model_saves_and_exports_again(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = compiled(ffl(separate()), run_eagerly=True)
    step(model, 1)
    once = saved_and_loaded(model, tmp_path)
    twice = saved_and_loaded(once, tmp_path)
    assert_same(model, twice)
    twice.export(tmp_path / "saved_model", verbose=False)
    x, _ = data(5, seed=1)
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    logits = served.serve(x)
    np.testing.assert_allclose(
        logits["fused"], model(x)["fused"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", [FeatureFusionModel, OneModel])
def test_synchronized_batch_norm_is_saved(kind, tmp_path):
    def batch_norms(model):
        return [
            layer.synchronized
            for layer in model._flatten_layers()
            if isinstance(layer, BatchNormalization)
        ]

    with synchronized_batch_norm():
        model = kind.from_branches(
            "resnet8", num_classes=3, rampup_epochs=0, input_shape=(8, 8, 1)
        )
    found = batch_norms(model)
    assert found and all(found)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert batch_norms(loaded) == found
