"""The code of README and docs runs as it is printed."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.methods import METHODS

ROOT = pathlib.Path(__file__).parents[1]


def blocks(file):
    text = (ROOT / file).read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def block(start):
    return next(code for code in blocks("README.md") if code.startswith(start))


def make_network():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, strides=2)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(name="last_relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture
def batches():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 90)
    # Rows, columns or nothing, under noise.
    x = random.normal(size=(90, 8, 8, 1)) * 0.3
    x[y == 0, ::2] += 2
    x[y == 1, :, ::2] += 2
    data = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return data.batch(30)


# Keras warns of its own default for every tf.data.Dataset.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
def test_own_network_and_data(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "make_network": make_network,
        "train_batches": batches,
        "test_batches": batches,
    }
    exec(block("import keras_ffl"), names)
    better = keras.models.load_model("better.keras")
    assert better.count_params() == make_network().count_params()
    logits = better.predict(batches, verbose=0)
    labels = np.concatenate([y for _, y in batches])
    assert np.mean(np.argmax(logits, axis=1) == labels) > 0.9
    history = names["model"].history.history
    assert history["val_fused_accuracy"][-1] > 0.9


def test_branches():
    names = {}
    exec("import keras_ffl\n" + block("model = keras_ffl"), names)
    assert names["model"].heads == ("fused", "sub_1", "sub_2", "ensemble")


def test_networks():
    names = {}
    for code in blocks("docs/networks.md"):
        exec(code, names)
    channels = [n.output["features"].shape[-1] for n in names["networks"]]
    assert channels == [1280, 32, 1280, 32, 1280]


def test_own_task():
    names = {}
    for code in blocks("docs/tasks.md"):
        exec(code, names)
    model = names["model"]
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    x = np.zeros((2, *model.input_shape[1:]))
    losses = model.train_on_batch(x, np.array([0, 3]), return_dict=True)
    # At first each of the four logits is about 0.
    assert losses["ordinal_fused"] == pytest.approx(4 * np.log(2), abs=1)


def test_own_method(tmp_path, monkeypatch):
    # The row is taken out of the table again.
    monkeypatch.setitem(METHODS, "ensemble_teacher", None)
    names = {}
    for code in blocks("docs/methods.md"):
        exec(code, names)
    names["test_ensemble_teacher"](tmp_path)
