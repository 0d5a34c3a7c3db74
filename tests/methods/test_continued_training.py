"""Training that goes on after a call, and unusual batches, on any backend."""

import keras
import numpy as np
import pytest
from support import update_counts
from support.builders import (
    IMAGE,
    compiled,
    data,
    ffl,
    separate,
    subnetwork,
)

from keras_ffl import InputError, MutualLearningModel
from keras_ffl.optimizers import SGD


def assert_finite(model):
    for weight in model.get_weights():
        assert np.isfinite(weight).all()


@pytest.mark.parametrize("several", [False, True])
def test_averages_of_weights_over_several_fits(several):
    x, y = data()
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.5)
    if several:
        optimizer = keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(optimizer)
        )
    model = compiled(ffl(), optimizer)
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    assert_finite(model)
    kernels = zip(before, model.get_weights(), strict=True)
    assert any((old != new).any() for old, new in kernels)
    assert np.isfinite(model.predict(x, verbose=0)["fused"]).all()


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_random_layers_go_on_where_they_stopped(suffix, tmp_path):
    def network(k):
        image = keras.Input(IMAGE)
        trunk = image, keras.layers.Dropout(0.4)(image)
        return subnetwork(trunk=trunk, name=f"net_{k}")

    def made():
        # An optimizer without a state, which files of weights don't hold.
        model = MutualLearningModel([network(0), network(1)])
        return compiled(model, keras.optimizers.SGD(0.1))

    x, y = data()
    model, options = made(), {"verbose": 0, "shuffle": False}
    model.fit(x, y, **options)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        loaded = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        loaded = made()
        loaded.load_weights(path)
    logs = [each.fit(x, y, **options).history for each in (model, loaded)]
    assert logs[0] == logs[1]
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("method", ["ffl", "dml"])
def test_nadam_s_product_of_momentums(method, scaled, tmp_path):
    optimizer = keras.optimizers.Nadam(beta_1=0.9)
    given = update_counts.scaled(optimizer) if scaled else optimizer
    model = update_counts.model_of(method, given)
    for x, y in update_counts.batches():
        model.train_on_batch(x, y)
    factors = [
        0.9 * (1 - 0.5 * 0.96**t) for t in range(1, update_counts.BATCHES + 1)
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    for each in (optimizer, getattr(loaded, "inner_optimizer", loaded)):
        (product,) = update_counts.arrays([each._u_product])
        assert product == pytest.approx(np.prod(factors), rel=1e-5)


def test_freezing_a_layer_between_fits_under_a_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    x, y = data()
    model = compiled(ffl())
    model.fit(x, y, verbose=0)
    fusion = model.get_layer("fusion_module")
    fusion.trainable = False
    model.fit(x, y, verbose=0)
    assert_finite(model)
    # Compiled again, it keeps its weights on every backend.
    compiled(model)
    before = fusion.get_weights()
    model.fit(x, y, verbose=0)
    for old, weight in zip(before, fusion.weights, strict=True):
        if "moving" not in weight.name:
            np.testing.assert_array_equal(old, weight.numpy())


def test_without_compile():
    with pytest.raises(ValueError, match="call `compile"):
        ffl().fit(*data(), verbose=0)


def test_an_optimizer_given_as_its_configuration():
    optimizer = SGD(0.1, gradient_accumulation_steps=2)
    model = MutualLearningModel(separate(2))
    message = "`gradient_accumulation_steps` must be None for Mutual"
    with pytest.raises(InputError, match=message):
        model.compile(keras.optimizers.serialize(optimizer))
    model.compile(keras.optimizers.serialize(SGD(0.25)))
    assert float(model.optimizer.learning_rate) == 0.25


def test_auto_compilation_stays_auto_in_files(tmp_path):
    model = compiled(ffl(), jit_compile="auto")
    assert model.get_compile_config()["jit_compile"] == "auto"
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.jit_compile == model.jit_compile
    assert loaded.get_compile_config()["jit_compile"] == "auto"
    given = compiled(ffl(), jit_compile=False)
    assert given.get_compile_config()["jit_compile"] is False


# Keras warns, and takes the one input as it is.
@pytest.mark.filterwarnings("ignore:[\\s\\S]*structure of `inputs`")
def test_images_in_a_dict_or_a_list():
    x, y = data()
    model, same = compiled(ffl()), compiled(ffl())
    same.set_weights(model.get_weights())
    options = {"verbose": 0, "shuffle": False}
    found = model.fit({"image": x}, y, **options).history["loss"]
    expected = same.fit(x, y, **options).history["loss"]
    assert found == pytest.approx(expected, rel=1e-5)
    found = model.train_on_batch([x], y)
    assert found == pytest.approx(same.train_on_batch(x, y), rel=1e-5)


def test_a_batch_without_images():
    x, y = data()
    model = compiled(ffl())
    for step in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(InputError, match="have at least one image"):
            step(x[:0], y[:0])
    model.train_on_batch(x, y)
    assert_finite(model)
