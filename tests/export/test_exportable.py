"""Exports that are refused before anything is written."""

import dataclasses

import keras
import numpy as np
import pytest
from support import builders

from keras_ffl import InputError, VanillaModel, data, export

INFO = data.DatasetInfo(
    "toy", 3, (4, 4, 2), ("cat", "dog", "emu"), (120.0, 110), (60.0, 61), True
)
OTHERS = {
    "more classes": (
        {"num_classes": 4, "class_names": tuple("abcd")},
        "the model's 3 classes, got 4 of data set 'toy'",
    ),
    "fewer classes": (
        {"num_classes": 2, "class_names": tuple("ab")},
        "the model's 3 classes, got 2 of data set 'toy'",
    ),
    "another size": (
        {"input_shape": (8, 4, 2)},
        r"the model's image shape \(4, 4, 2\), got \(8, 4, 2\)",
    ),
    "other channels": (
        {"input_shape": (4, 4, 1), "mean": (1.0,), "std": (1.0,)},
        r"the model's image shape \(4, 4, 2\), got \(4, 4, 1\)",
    ),
    "no size": (
        {"input_shape": (None, None, 2)},
        r"the model's image shape \(4, 4, 2\), got \(None, None, 2\)",
    ),
}


@pytest.fixture(scope="module")
def model():
    return builders.METHODS["ffl"]()


@pytest.mark.parametrize("changes,message", OTHERS.values(), ids=OTHERS)
def test_info_of_other_data(changes, message, model, tmp_path):
    info = dataclasses.replace(INFO, **changes)
    images = np.zeros((2, 4, 4, 2), "uint8")
    folder = tmp_path / "out"
    for name in export.FORMATS:
        with pytest.raises(InputError, match=f"`info` must have {message}"):
            export.write_head(model, "fused", info, folder, name, images)
    for wrong in (
        lambda: export.export_head(model, "fused", info, folder),
        lambda: export.stock_head(model, "fused", info),
        lambda: export.verify(model, info, {}, images, np.zeros(2, int)),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
    assert not folder.exists()


def test_series(tmp_path):
    series = keras.Input((4, 2))
    features = keras.layers.Conv1D(3, 3)(series)
    pooled = keras.layers.GlobalAveragePooling1D()(features)
    outputs = {"features": features, "logits": keras.layers.Dense(3)(pooled)}
    model = VanillaModel(keras.Model(series, outputs))
    with pytest.raises(InputError, match=r"the model's image shape \(4, 2\), "):
        export.write_head(model, "vanilla", INFO, tmp_path / "out", "keras")


def test_photos_without_a_size(tmp_path):
    model = builders.METHODS["vanilla"](image=(None, None, 3))
    info = dataclasses.replace(
        INFO,
        input_shape=(None, None, 3),
        mean=(1.0,) * 3,
        std=(1.0,) * 3,
        central_crop=0.875,
    )
    with pytest.raises(InputError, match="`info` must have a height and width"):
        export.export_head(model, "vanilla", info, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "calibration",
    [
        None,
        np.zeros((0, 4, 4, 2), "uint8"),
        np.zeros((4, 4, 2), "uint8"),
        np.zeros((2, 4, 4, 1), "uint8"),
        np.zeros((2, 4, 4, 2), "float32"),
    ],
    ids=["none", "empty", "one image", "grey", "normalised"],
)
def test_calibration_images(calibration, model, tmp_path):
    with pytest.raises(InputError, match="`calibration` must be uint8 images"):
        export.write_head(
            model, "fused", INFO, tmp_path / "o", "litert_int8", calibration
        )
    assert not (tmp_path / "o").exists()


def test_another_backend(model, tmp_path, monkeypatch):
    """All but `.keras` are TensorFlow's (test_jax_scripts.py writes that)."""
    monkeypatch.setattr("keras_ffl.backend.NAME", "jax")
    for name in ("saved_model", "litert", "litert_int8", "onnx"):
        message = f"`format` {name} is written by TensorFlow, got .* jax"
        with pytest.raises(InputError, match=message):
            export.write_head(model, "fused", INFO, tmp_path / "o", name)
    with pytest.raises(InputError, match="KERAS_BACKEND=tensorflow"):
        export.export_head(model, "fused", INFO, tmp_path / "o")
    assert not (tmp_path / "o").exists()
    export.check_format("keras")
