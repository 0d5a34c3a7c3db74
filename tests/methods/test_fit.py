"""Training through `fit`: data, precision, updates, compilation."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    PlainFusion,
    branches,
    compiled,
    data,
    ffl,
    separate,
    subnetwork,
)

from keras_ffl import InputError, VanillaModel, as_subnetwork
from keras_ffl.layers import BatchNormalization, FeatureAverage
from keras_ffl.optimizers import SGD

tf = pytest.importorskip("tensorflow")


def same_start(**kwargs):
    """A model that begins with the same weights at every call."""
    keras.utils.set_random_seed(7)
    return ffl(**kwargs)


def eager(model, **kwargs):
    return compiled(model, run_eagerly=True, **kwargs)


def fit(model, x, y=None, **kwargs):
    kwargs = {"shuffle": False, "verbose": 0, **kwargs}
    return model.fit(x, y, **kwargs).history


def assert_same_weights(one, other, **tolerance):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"atol": 1e-7}))


def test_learns():
    model = compiled(optimizer=SGD(0.05), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    y = np.arange(24) % CLASSES
    x = rng.normal(size=(24, 4, 4, 2)).astype("float32") * 0.1
    x[:, :, :, 0] += y[:, None, None]
    history = fit(model, x, y, epochs=40)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    for head in ("fused", "sub_1", "sub_2", "ensemble"):
        assert history[f"{head}_accuracy"][-1] > 0.9


def test_arrays_and_tf_data_and_steps_per_execution():
    x, y = data(10)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    reference = eager(same_start())
    expected = fit(reference, x, y, batch_size=4, epochs=2)
    for arguments, options in (
        ({"x": dataset}, {}),
        ({"x": dataset}, {"steps_per_execution": 3}),
        ({"x": x, "y": y, "batch_size": 4}, {"steps_per_execution": 2}),
    ):
        model = compiled(same_start(), **options)
        history = fit(model, epochs=2, **arguments)
        assert set(history) == set(expected)
        for name, values in expected.items():
            assert history[name] == pytest.approx(values, rel=1e-5), name
        assert_same_weights(model, reference, rtol=1e-5, atol=1e-6)


def test_rows_of_an_unknown_width_from_a_generator():
    x, y = data(4)

    def samples():
        yield x, np.eye(CLASSES, dtype="float32")[y]

    dataset = tf.data.Dataset.from_generator(
        samples,
        output_signature=(
            tf.TensorSpec((None, 4, 4, 2)),
            tf.TensorSpec((None, None)),
        ),
    ).apply(tf.data.experimental.assert_cardinality(1))
    history = fit(compiled(same_start()), dataset)
    expected = fit(eager(same_start()), x, y, batch_size=4)
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_class_weight_weighs_all_terms():
    x, y = data()
    class_weight = {0: 0.5, 1: 0.0}
    weights = np.array([class_weight.get(label, 1.0) for label in y])
    by_class, by_sample = eager(same_start()), eager(same_start())
    one = fit(by_class, x, y, class_weight=class_weight)
    two = fit(by_sample, x, y, sample_weight=weights)
    dataset = tf.data.Dataset.from_tensors((x, y))
    again = fit(eager(same_start()), dataset, class_weight=class_weight)
    assert again["loss"] == pytest.approx(one["loss"], rel=1e-5)
    for wrong in ({1: 1.0, 3: 2.0}, [1.0, 2.0, 3.0], {0: np.nan}, {1: "x"}):
        with pytest.raises(InputError, match=r"dict from classes in 0\.\.2 to"):
            by_class.fit(x, y, class_weight=wrong)
    for name in ("loss", "ce_fused", "ce_sub_1", "ekd", "fkd"):
        assert one[name] == pytest.approx(two[name], rel=1e-6)
    assert_same_weights(by_class, by_sample)
    unweighted = fit(eager(same_start()), x, y)
    assert one["fkd"] != pytest.approx(unweighted["fkd"], rel=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = compiled(optimizer=SGD(0.01), metrics=["accuracy"])
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    x, y = data()
    before = model.get_weights()
    history = fit(model, x, y, epochs=3)
    assert all(np.isfinite(values).all() for values in history.values())
    for head, logits in model.predict(x, verbose=0).items():
        assert logits.dtype == "float32", head
    features = model.feature_extractor("sub_1").output
    assert features.dtype == policy.removeprefix("mixed_")
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    moved = [
        np.abs(new - old).max() > 0
        for new, old in zip(model.get_weights(), before)
    ]
    assert all(moved)


def test_clipping():
    model = eager(
        ffl(), optimizer=keras.optimizers.SGD(1.0, global_clipnorm=0.01)
    )
    before = [v.numpy() for v in model.trainable_variables]
    fit(model, *data())
    change = [
        ((v.numpy() - old) ** 2).sum()
        for v, old in zip(model.trainable_variables, before)
    ]
    assert np.sqrt(sum(change)) == pytest.approx(0.01, rel=1e-3)


def test_clipping_of_embeddings():
    """Their gradients are sparse: one row for every word of a sample."""
    words = keras.Input((6,), dtype="int32")
    features = keras.layers.Embedding(2, 4, name="words")(words)
    pooled = keras.layers.GlobalAveragePooling1D()(features)
    outputs = {"features": features, "logits": keras.layers.Dense(3)(pooled)}
    model = VanillaModel(keras.Model(words, outputs))
    compiled(model, keras.optimizers.SGD(1.0, clipvalue=1e-3))
    (before,) = model.get_layer("words").get_weights()
    fit(model, np.arange(48).reshape(8, 6) % 2, np.arange(8) % 3)
    (after,) = model.get_layer("words").get_weights()
    assert np.abs(after - before).max() == pytest.approx(1e-3, rel=1e-3)


def test_an_optimizer_that_starts_from_the_weights():
    """Keras would start it again in every step that is compiled."""

    def trained(**kwargs):
        model = same_start()
        compiled(model, keras.optimizers.ScheduleFreeAdamW(0.01), **kwargs)
        fit(model, *data(), batch_size=4, epochs=2)
        return model

    assert_same_weights(trained(), trained(run_eagerly=True), atol=1e-5)


def test_accumulated_gradients_equal_a_larger_batch():
    x, y = data(16)
    options = {"weight_decay": 0.1, "learning_rate": 0.1}
    models = []
    for batch_size, more in ((8, {}), (4, {"gradient_accumulation_steps": 2})):
        keras.utils.set_random_seed(3)
        model = ffl(branches(normalize=False), fusion=PlainFusion())
        compiled(model, SGD(**options, **more), run_eagerly=not more)
        fit(model, x, y, batch_size=batch_size, epochs=2)
        models.append(model)
    assert_same_weights(*models, rtol=1e-5, atol=1e-6)


def test_xla_computes_the_same():
    x, y = data()
    models = [
        compiled(same_start(rampup_epochs=3), jit_compile=jit_compile)
        for jit_compile in (True, False)
    ]
    histories = [fit(model, x, y, epochs=2) for model in models]
    assert models[0].jit_compile is True
    for name, values in histories[1].items():
        assert histories[0][name] == pytest.approx(values, rel=1e-4), name
    assert_same_weights(*models, rtol=1e-4, atol=1e-5)


def test_xla_is_left_out_on_a_cpu_by_default():
    if any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU")):
        pytest.skip("there is an accelerator")
    assert compiled().jit_compile is False
    assert compiled(jit_compile=True).jit_compile is True


def test_the_default_optimizer_is_the_paper_s():
    model = ffl()
    model.compile()
    optimizer = model.optimizer
    assert isinstance(optimizer, SGD)
    config = optimizer.get_config()
    assert config["learning_rate"] == pytest.approx(0.1)
    assert (config["momentum"], config["nesterov"]) == (0.9, True)
    optimizer.build(model.trainable_variables)
    decays = {v.path: optimizer.decay_of(v) for v in model.trainable_variables}
    for path, decay in decays.items():
        of_fusion = path.startswith(("fusion_module/", "fused_classifier/"))
        assert decay == (1e-5 if of_fusion else 1e-4), path
    assert sorted(decays.values()).count(1e-5) == 8


def test_rate_can_drop_under_a_scheduler():
    model = eager(ffl(), optimizer=SGD(0.1))
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch)
    history = fit(model, *data(), epochs=3, callbacks=[rates])
    assert history["learning_rate"] == [1.0, 0.5, 0.25]


def classifier_with_batch_normalization():
    image = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)
    x = keras.layers.BatchNormalization()(x)
    x = BatchNormalization()(x)
    x = keras.layers.ReLU(name="features")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES)(x))


@pytest.mark.parametrize("fusion", [None, FeatureAverage])
def test_a_frozen_subnetwork_does_not_move(fusion):
    frozen = as_subnetwork(
        classifier_with_batch_normalization(), "features", trainable=False
    )
    trained = subnetwork(4)
    model = eager(
        ffl([frozen, trained], fusion=fusion and fusion()),
        optimizer=SGD(0.1),
    )
    assert not set(map(id, frozen.weights)) & set(
        map(id, model.trainable_weights)
    )
    before, others = frozen.get_weights(), trained.get_weights()
    x, y = data()
    fit(model, x, y, epochs=2)
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = [
        np.abs(old - new).max() > 0
        for old, new in zip(others, trained.get_weights(), strict=True)
    ]
    assert all(moved)
    # Its logits in training are those of inference.
    np.testing.assert_array_equal(
        model(x, training=True)["sub_1"], model(x, training=False)["sub_1"]
    )


def test_sub_networks_of_different_map_sizes():
    networks = [subnetwork(3), subnetwork(5, strides=2, name="small")]
    model = eager(ffl(networks))
    history = fit(model, *data())
    assert np.isfinite(history["loss"]).all()
    assert model.fusion.output.shape == (None, 2, 2, 3)


def test_separate_networks_are_trained_as_well():
    networks = separate(3)
    model = eager(ffl(networks))
    before = [network.get_weights() for network in networks]
    fit(model, *data())
    for network, values in zip(networks, before):
        for old, new in zip(values, network.get_weights()):
            assert np.abs(old - new).max() > 0


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_gradient_accumulation_is_refused_under_a_strategy(policy):
    keras.config.set_dtype_policy(policy)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = ffl()
        optimizer = SGD(gradient_accumulation_steps=4)
        message = "`gradient_accumulation_steps` .* one device only, got 4"
        with pytest.raises(ValueError, match=message):
            model.compile(optimizer)
        model.compile(SGD())
    # It is trained by the strategy, wherever it is compiled.
    with pytest.raises(ValueError, match=message):
        model.compile(optimizer)


def test_overwriting_by_averages_is_refused_under_a_strategy():
    optimizer = SGD(use_ema=True, ema_overwrite_frequency=5)
    inside = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(optimizer)
    )
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        message = "`ema_overwrite_frequency` .* one device only, got 5"
        for each in (optimizer, inside):
            with pytest.raises(ValueError, match=message):
                ffl().compile(each)
    ffl().compile(optimizer)


def test_one_device_strategy_trains_the_same():
    x, y = data()
    reference = eager(same_start())
    expected = fit(reference, x, y)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = compiled(same_start())
    history = fit(model, x, y)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, rel=1e-5), name
    assert_same_weights(model, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "steps", [3, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 9))]
)
def test_evaluation_under_a_strategy_takes_all_batches(steps):
    x, y = data(16)
    expected = compiled(same_start(), metrics=["accuracy"]).evaluate(
        x, y, 2, verbose=0, return_dict=True
    )
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = compiled(
            same_start(), metrics=["accuracy"], steps_per_execution=steps
        )
    for arguments in ({"x": x, "y": y, "batch_size": 2}, {"x": dataset}):
        found = model.evaluate(**arguments, verbose=0, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-5)
    found = model.test_on_batch(x, y, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    found = model.train_on_batch(x, y, return_dict=True)
    assert np.isfinite(found["loss"])


def test_maps_of_one_channel():
    """TensorFlow's graph rewriting took the decay term for a bias."""

    def trained(**kwargs):
        keras.utils.set_random_seed(7)
        model = ffl(branches(channels=1))
        assert model.fusion.output.shape[-1] == 1
        model.compile(SGD(0.05), **kwargs)
        fit(model, *data(64), batch_size=32)
        return model

    assert_same_weights(trained(), trained(run_eagerly=True), atol=1e-5)
