"""Every format, run in a process that can't import keras_ffl."""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
from support.builders import METHODS, moved, subnetwork

from keras_ffl import (
    FeatureFusionModel,
    InputError,
    VanillaModel,
    as_subnetwork,
    data,
    export,
)
from keras_ffl.export import FORMATS, verify, write_head
from keras_ffl.models import vit
from keras_ffl.tasks import Classification

INFO = data.DatasetInfo(
    "toy", 3, (4, 4, 2), ("cat", "dog", "emu"), (120.0, 110), (60.0, 61), True
)
IMAGES = np.random.default_rng(1).integers(
    0, 256, (130, *INFO.input_shape), dtype=np.uint8
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return moved(METHODS["ffl"]())


@pytest.fixture(scope="module")
def labels(model):
    x = data.normalize(IMAGES, INFO)
    return model.classifier("fused").predict(x, verbose=0).argmax(axis=1)


def check(model, labels, name, head, folder):
    missing = [
        module
        for module in FORMATS[name].writer + FORMATS[name].reader
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    path = write_head(model, head, INFO, folder, name, IMAGES)
    (row,) = verify(
        model, INFO, {name: {head: path}}, IMAGES, labels, batches=(2,)
    )
    # The classes of untrained networks are too close to each other for int8.
    assert row["agrees"] or not FORMATS[name].exact
    assert row["milliseconds"][2] > 0
    assert row["bytes"] == export.size_on_disk(path) > 1000
    assert (folder / "labels.txt").read_text() == "cat\ndog\nemu\n"
    names = {"labels.txt", path.name}
    if path.is_file():
        names.add(f"{path.name}.model_card.json")
    assert {each.name for each in folder.iterdir()} == names
    return row, path


@pytest.mark.parametrize("name", ["keras", "litert", "onnx"])
def test_exact_formats(name, model, labels, tmp_path, monkeypatch):
    # `predict` gets the images in parts, the file all at once.
    monkeypatch.setattr(export.verification, "_PART", 3)
    row, path = check(model, labels, name, "fused", tmp_path)
    assert row["largest_difference"] < 1e-5
    assert row["top1_error"] == row["predict_error"] == 0.0
    assert path.name == "fused" + FORMATS[name].suffix


@pytest.mark.parametrize(
    "name",
    [
        "onnx",
        pytest.param("keras", marks=pytest.mark.slow),
        pytest.param("litert", marks=pytest.mark.slow),
    ],
)
def test_vision_transformer(name, tmp_path):
    """With operations that no converter meets in the other networks."""
    network = vit(3, INFO.input_shape, 3, 8, 2, 2, patch_size=2)
    model = moved(VanillaModel(network))
    x = data.normalize(IMAGES, INFO)
    labels = model.predict(x, verbose=0)["vanilla"].argmax(axis=1)
    row, _ = check(model, labels, name, "vanilla", tmp_path)
    assert row["largest_difference"] < 1e-5


@pytest.mark.parametrize(
    ("policy", "least", "too_much"),
    [("mixed_bfloat16", 1e-4, 0.03), ("mixed_float16", 1e-5, 0.004)],
)
def test_half_precision_stays_in_training(
    policy, least, too_much, tmp_path, monkeypatch
):
    keras.config.set_dtype_policy(policy)
    model = moved(METHODS["vanilla"]())
    path = write_head(model, "vanilla", INFO, tmp_path, "keras")
    found = keras.saving.load_model(path).predict(IMAGES, verbose=0)
    labels = found.argmax(axis=1)
    for off, agrees in ((0, True), (too_much, False)):
        monkeypatch.setattr(
            export.verification,
            "run_elsewhere",
            lambda *_, off=off: [(found + off, {})],
        )
        written = {"keras": {"vanilla": path}}
        (row,) = verify(model, INFO, written, IMAGES, labels)
        # The file computes in float32, `predict` doesn't.
        assert row["largest_difference"] > least
        assert row["agrees"] is agrees


def normalizing():
    """A network and a common preprocessing with constants."""
    layer = keras.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 0.0])
    image = keras.Input(INFO.input_shape)
    network = subnetwork(trunk=(image, layer(image)))
    inverse = keras.layers.Normalization(invert=True, mean=3.0, variance=2.0)
    return FeatureFusionModel([network, subnetwork()], 0, preprocessing=inverse)


def doubled():
    keras.config.set_dtype_policy("float64")
    return METHODS["ffl"]()


class Calibrated(Classification):
    output_name = "scores"

    def prediction(self, outputs):
        return {
            **super().prediction(outputs),
            "scores": keras.ops.softmax(outputs / 2.5),
        }


@pytest.mark.parametrize(
    "name",
    [
        "onnx",
        pytest.param("saved_model", marks=pytest.mark.slow),
        pytest.param("keras", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        normalizing,
        doubled,
        lambda: VanillaModel(subnetwork(), task=Calibrated()),
    ],
    ids=["normalization", "float64", "own prediction"],
)
def test_further_heads(name, make, labels, tmp_path):
    policy = keras.config.dtype_policy()
    try:
        model = moved(make())
    finally:
        keras.config.set_dtype_policy(policy)
    head = model.primary_head
    path = write_head(model, head, INFO, tmp_path, name)
    (row,) = verify(model, INFO, {name: {head: path}}, IMAGES, labels)
    assert row["agrees"], row


def test_operation_that_onnx_lacks(tmp_path):
    image = keras.Input(INFO.input_shape)
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    x = keras.layers.Dense(4, name="features")(pooled)
    logits = keras.layers.Dense(3)(keras.ops.erfinv(keras.ops.tanh(x)))
    network = as_subnetwork(keras.Model(image, logits), "features")
    pytest.importorskip("tf2onnx")
    with pytest.raises(InputError, match="^the network can't be .* to onnx"):
        write_head(VanillaModel(network), "vanilla", INFO, tmp_path, "onnx")


def test_int8(model, labels, tmp_path):
    row, path = check(model, labels, "litert_int8", "fused", tmp_path)
    assert row["largest_difference"] < 0.25
    assert row["other_class"] < 0.1 * len(IMAGES)
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    reader = interpreter.Interpreter(str(path))
    (given,), (taken,) = reader.get_input_details(), reader.get_output_details()
    # A pixel is its quantised value.
    assert given["dtype"] == np.uint8 and given["quantization"] == (1.0, 0)
    assert given["shape_signature"][0] == -1
    assert taken["dtype"] == np.float32
    assert reader.get_signature_list()["serving_default"] == {
        "inputs": ["images"],
        "outputs": ["probabilities"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_format_of_every_head(method, tmp_path):
    model = moved(METHODS[method]())
    x = data.normalize(IMAGES, INFO)
    for head in model.heads:
        own = model.classifier(head).predict(x, verbose=0).argmax(axis=1)
        for name in FORMATS:
            check(model, own, name, head, tmp_path / head / name)


def test_a_wrong_file_is_found_out(model, labels, tmp_path, monkeypatch):
    path = write_head(model, "sub_1", INFO, tmp_path, "keras")
    found = np.full((len(IMAGES), 3), 1 / 3, "float32")
    monkeypatch.setattr(
        export.verification, "run_elsewhere", lambda *_: [(found, {})] * 2
    )
    written = {"keras": {"fused": path}, "litert_int8": {"fused": path}}
    rows = verify(model, INFO, written, IMAGES, labels)
    assert [row["agrees"] for row in rows] == [False, False]
    x = data.normalize(IMAGES, INFO)
    logits = model.classifier("fused")(x, training=False)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    # The first of three equal classes is the file's.
    gap = np.max(expected.max(axis=1) - expected[:, 0])
    assert rows[0]["class_gap"] == pytest.approx(gap, abs=1e-6) and gap > 0
    assert "NO" in export.format_rows(rows)


@pytest.mark.parametrize(
    ("gap", "difference", "agrees"),
    [(8e-6, 1e-5, True), (5e-5, 6e-5, False), (8e-6, 2e-4, False)],
    ids=["tie", "another class", "another probability"],
)
def test_a_tie_may_go_either_way(
    gap, difference, agrees, model, tmp_path, monkeypatch
):
    expected = np.tile(np.float64([0.5, 0.3, 0.2]), (len(IMAGES), 1))
    expected[7] = [0.4 + gap, 0.4, 0.2 - gap]
    found = expected.copy()
    found[7] += [-difference, difference, 0]
    assert found[7].argmax() == 1
    path = write_head(model, "fused", INFO, tmp_path, "keras")
    for name, value in (
        ("run_elsewhere", [(found, {})]),
        ("head_logits", {"fused": np.log(expected)}),
    ):
        monkeypatch.setattr(
            export.verification, name, lambda *_, value=value: value
        )
    (row,) = verify(
        model,
        INFO,
        {"keras": {"fused": path}},
        IMAGES,
        np.zeros(len(IMAGES), int),
    )
    assert row["agrees"] is agrees
    assert row["other_class"] == 1
    assert row["class_gap"] == pytest.approx(gap, rel=1e-6)
    assert row["largest_difference"] == pytest.approx(difference, rel=1e-6)


def test_bad_input(model, tmp_path, monkeypatch):
    def write(head="fused", name="keras", calibration=None):
        return write_head(model, head, INFO, tmp_path / "o", name, calibration)

    with pytest.raises(InputError, match="`format` must be one of .*'tflite'"):
        write(name="tflite")
    with pytest.raises(InputError, match="`head` must be one of .*'sub_3'"):
        write(head="sub_3")
    with pytest.raises(InputError, match="`calibration` must be uint8 images"):
        write(name="litert_int8")
    assert not (tmp_path / "o").exists()
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "fused.keras").write_text("mine")
    with pytest.raises(InputError, match="fused.keras already exists"):
        write()
    assert (tmp_path / "o" / "fused.keras").read_text() == "mine"
    (tmp_path / "o" / "labels.txt").write_text("hen\n")
    with pytest.raises(InputError, match="heads with other classes"):
        write(head="sub_1")

    def fail(*_):
        raise InputError("the network can't be converted")

    def write_meanwhile(*_):
        (tmp_path / "none" / "labels.txt").write_text("hen\n")

    for found, message, left in (
        (fail, "can't be converted", []),
        (write_meanwhile, "heads with other classes", ["labels.txt"]),
    ):
        broken = dataclasses.replace(FORMATS["keras"], write=found)
        with monkeypatch.context() as patch:
            patch.setitem(FORMATS, "keras", broken)
            with pytest.raises(InputError, match=message):
                write_head(model, "fused", INFO, tmp_path / "none", "keras")
        names = [path.name for path in (tmp_path / "none").iterdir()]
        assert names == left
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        write_head(model, "fused", INFO, tmp_path / "file" / "o", "keras")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, runs, pattern in (
        ("onnx", False, r'needs tf2onnx.*install "keras-ffl\[onnx\]"'),
        ("litert", True, r'ai_edge_litert.*install "keras-ffl\[litert\]"'),
    ):
        with pytest.raises(InputError, match=pattern):
            export.check_format(name, runs)


def test_class_names_with_carriage_returns(model, tmp_path):
    names = tuple(f"{name}\r" for name in INFO.class_names)
    info = dataclasses.replace(INFO, class_names=names)
    for head in ("fused", "sub_1"):
        write_head(model, head, info, tmp_path, "keras")
    assert (tmp_path / "labels.txt").read_bytes() == b"cat\r\ndog\r\nemu\r\n"


def test_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "a.onnx").write_text("no model")
    with pytest.raises(InputError, match="a.onnx can't be run: ") as error:
        export.run_elsewhere([tmp_path / "a.onnx"], IMAGES)
    assert "\n" not in str(error.value)
