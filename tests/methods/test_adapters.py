"""LoRA's weights in the file of a method that has layers with them."""

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import METHODS, compiled, data, moved

from keras_ffl.models.graph import layers_within
from keras_ffl.optimizers import SGD


def with_adapters(method):
    model = METHODS[method]()
    for layer in layers_within(model):
        # Not a teacher's.
        if hasattr(layer, "enable_lora") and "wise" not in layer.name:
            layer.enable_lora(2, lora_alpha=6)
    # What is trained changes with it.
    model = compiled(moved(model), SGD(0.05))
    step(model)
    return model


def step(model):
    x, y = data()
    return model.fit(x, y, shuffle=False, verbose=0, batch_size=4).history


def values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def assert_same(one, other):
    for ours, theirs in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Copied layers and nested models, and a trunk that is shared.
@pytest.mark.parametrize("method", ["ffl", "dml", "kd", "one"])
def test_a_file_keeps_adapters(method, tmp_path):
    model = with_adapters(method)
    assert any("lora" in weight.path for weight in model.trainable_weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(model.variables, loaded.variables)
    assert_same(model.optimizer.variables, loaded.optimizer.variables)
    x, _ = data()
    for head, outputs in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(
            loaded.predict(x, verbose=0)[head], outputs, rtol=1e-5, atol=1e-6
        )
    assert step(model) == step(loaded)
    assert_same(model.variables, loaded.variables)


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize` method")
@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("method", ["ffl", "one"])
def test_quantized_methods(method, weights_only, tmp_path):
    model = compiled(moved(METHODS[method]()))
    config = keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    model.quantize("int8", config=config if weights_only else None)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(model.variables, loaded.variables)
    x, _ = data()
    for head, outputs in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(
            loaded.predict(x, verbose=0)[head], outputs
        )


def test_weights_alone_keep_adapters(tmp_path):
    model, other = with_adapters("vanilla"), with_adapters("vanilla")
    step(model)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(model.variables, other.variables)


def test_older_files_have_none(tmp_path, monkeypatch):
    """Keras alone: the product is in the kernel."""
    model = with_adapters("vanilla")
    expected = model.predict(data()[0], verbose=0)["vanilla"]
    monkeypatch.setattr(type(model), "adapters", None)
    model.save(tmp_path / "model.keras")
    monkeypatch.undo()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    outputs = loaded.predict(data()[0], verbose=0)["vanilla"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_added_to_a_method_without_adapters():
    model = METHODS["vanilla"]()
    before = len(layers_within(model)), len(model.variables)
    store = {}
    model.adapters.save_own_variables(store)
    assert store == {}
    assert (len(layers_within(model)), len(model.variables)) == before
