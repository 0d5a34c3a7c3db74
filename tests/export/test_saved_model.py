"""Exported heads, loaded in a process that has only TensorFlow."""

import dataclasses
import io
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.builders import subnetwork

from keras_ffl import FeatureFusionModel, InputError, VanillaModel, data, tasks
from keras_ffl.export import export_head, write_head
from keras_ffl.models import build, count_parameters

INFO = data.DatasetInfo(
    "toy",
    3,
    (12, 10, 3),
    ("cat", "dog", "emu"),
    (120.0, 110.0, 100.0),
    (60.0, 61.0, 62.0),
    True,
)

# Runs with an import path that has no keras_ffl on it.
READER = """
import sys
import numpy as np
import tensorflow as tf

class Refuse:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("keras_ffl", "keras"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
model = tf.saved_model.load(sys.argv[1])
inputs = np.load(sys.argv[2], allow_pickle=False)
result = {}
for name, key in (("serving_default", "images"),
                  ("serving_encoded", "encoded")):
    value = inputs[key]
    if key == "encoded":
        value = [bytes(row[: length]) for row, length
                 in zip(value, inputs["lengths"])]
    outputs = model.signatures[name](**{key: tf.constant(value)})
    for output, tensor in outputs.items():
        result[f"{name}.{output}"] = tensor.numpy()
result["parameters"] = sum(
    np.prod(v.shape) for v in model.signatures["serving_default"]
    .trainable_variables)
result["class_names"] = result.pop("serving_default.class_name").astype(str)
result["encoded_names"] = result.pop("serving_encoded.class_name").astype(str)
np.savez(sys.argv[3], **result)
"""


@pytest.fixture
def model():
    model = FeatureFusionModel.from_branches(
        "resnet8", num_classes=3, input_shape=INFO.input_shape, rampup_epochs=0
    )
    # Statistics other than 0 and 1, so that inference mode shows.
    x = np.random.default_rng(0).normal(size=(16, *INFO.input_shape))
    for _ in range(3):
        model(x.astype("float32"), training=True)
    return model


def read(path, images, tmp_path):
    def png(image):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        return buffer.getvalue()

    encoded = [png(image) for image in images]
    width = max(map(len, encoded))
    np.savez(
        tmp_path / "inputs.npz",
        images=images,
        encoded=np.array(
            [
                np.frombuffer(code.ljust(width, b"\0"), np.uint8)
                for code in encoded
            ]
        ),
        lengths=[len(code) for code in encoded],
    )
    subprocess.run(
        [sys.executable, "-c", READER]
        + [str(path), str(tmp_path / "inputs.npz"), str(tmp_path / "out.npz")],
        check=True,
        cwd=tmp_path,
    )
    return np.load(tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("head", "fold"),
    [
        ("fused", True),
        ("sub_2", True),
        pytest.param("sub_2", False, marks=pytest.mark.slow),
        pytest.param("ensemble", True, marks=pytest.mark.slow),
    ],
)
def test_exported_head_agrees_with_predict(model, head, fold, tmp_path):
    images = np.random.default_rng(1).integers(
        0, 256, (5, *INFO.input_shape), dtype=np.uint8
    )
    export_head(model, head, INFO, tmp_path / "exported", fold)
    result = read(tmp_path / "exported", images, tmp_path)

    x = (images.astype("float64") - INFO.mean) / INFO.std
    logits = model.classifier(head).predict(x.astype("float32"), verbose=0)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = shifted / shifted.sum(axis=1, keepdims=True)
    for signature in ("serving_default", "serving_encoded"):
        probabilities = result[f"{signature}.probabilities"]
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(
            result[f"{signature}.class_index"], expected.argmax(axis=1)
        )
    names = [INFO.class_names[index] for index in expected.argmax(axis=1)]
    assert result["class_names"].tolist() == names
    assert result["encoded_names"].tolist() == names
    if head == "sub_2":
        vanilla = build("resnet8", 3, INFO.input_shape)
        # A bias stands for beta, and nothing for gamma.
        gammas = sum(
            v.shape[0] for v in vanilla.trainable_weights if v.name == "gamma"
        )
        expected = count_parameters(vanilla) - (gammas if fold else 0)
        assert result["parameters"] == expected


@pytest.mark.parametrize("antialias", [True, False])
def test_encoded_images_of_another_size_are_resized(antialias, model, tmp_path):
    import tensorflow as tf

    info = dataclasses.replace(INFO, antialias=antialias)
    export_head(model, "fused", info, tmp_path / "exported")
    signatures = tf.saved_model.load(tmp_path / "exported").signatures
    random = np.random.default_rng(2)
    image = random.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    code = tf.io.encode_png(image)
    size = INFO.input_shape[:2]
    resized = tf.image.resize(image, size, antialias=antialias)
    expected = signatures["serving_default"](
        images=tf.cast(tf.round(resized), tf.uint8)[tf.newaxis]
    )
    result = signatures["serving_encoded"](encoded=tf.stack([code]))
    np.testing.assert_allclose(
        result["probabilities"], expected["probabilities"], atol=1e-6
    )
    # Grey images become three equal channels.
    grey = tf.io.encode_jpeg(image[..., :1])
    result = signatures["serving_encoded"](encoded=tf.stack([grey, code]))
    assert result["probabilities"].shape == (2, 3)


def test_bad_head_and_bad_output(model, tmp_path):
    with pytest.raises(InputError, match="fused, sub_1.*got 'sub_3'"):
        export_head(model, "sub_3", INFO, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="old is not empty"):
        export_head(model, "fused", INFO, tmp_path / "old")
    assert (tmp_path / "old" / "mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="can't be written"):
        export_head(model, "fused", INFO, tmp_path / "old/mine.txt/out")
    for folder in ("run[0]", "run\\"):
        with pytest.raises(InputError, match="`output` of a SavedModel must"):
            write_head(model, "fused", INFO, tmp_path / folder, "saved_model")
        assert not (tmp_path / folder).exists()


def test_a_prediction_without_a_class(tmp_path):
    class Cooled(tasks.Classification):
        def prediction(self, outputs):
            return {"probabilities": keras.ops.softmax(outputs / 2.5)}

    model = VanillaModel(subnetwork(image=INFO.input_shape), task=Cooled())
    export_head(model, "vanilla", INFO, tmp_path / "out")
    images = np.arange(240, dtype="uint8").reshape(2, *INFO.input_shape[:2], 1)
    images = np.repeat(images, 3, axis=-1)
    found = tf.saved_model.load(tmp_path / "out").signatures["serving_default"]
    logits = model.predict(data.normalize(images, INFO), verbose=0)["vanilla"]
    np.testing.assert_allclose(
        found(images=tf.constant(images))["probabilities"],
        keras.ops.softmax(logits / 2.5),
        atol=1e-6,
    )
