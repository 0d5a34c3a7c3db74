"""Model cards, beside exported heads and within them."""

import importlib.util
import json
import shutil

import keras
import numpy as np
import pytest
from support.builders import METHODS, moved, subnetwork

from keras_ffl import InputError, VanillaModel, data, tasks
from keras_ffl.commands import card as command
from keras_ffl.config import Config
from keras_ffl.export import FORMATS, read_card, write_head
from keras_ffl.export.cards import CARD, make_card
from keras_ffl.models import count_parameters
from keras_ffl.training import describe_run
from keras_ffl.workdir import Workdir

INFO = data.DatasetInfo(
    "toy", 3, (4, 4, 2), ("cat", "dog", "ēmu"), (120.0, 110), (60.0, 61), True
)
IMAGES = np.random.default_rng(1).integers(
    0, 256, (20, *INFO.input_shape), dtype=np.uint8
)
RUN = {
    "method": "ffl",
    "networks": ["a", "b"],
    "epochs": 3,
    "checkpoint": "last",
    "seed": 0,
    "errors": {"top1_error": 12.5, "split": "test"},
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return moved(METHODS["ffl"]())


@pytest.fixture(scope="module", params=FORMATS)
def exported(request, model, tmp_path_factory):
    name = request.param
    for module in FORMATS[name].writer:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("models")
    return name, write_head(
        model, "sub_1", INFO, folder, name, IMAGES, RUN, "CC0-1.0"
    )


def test_what_a_card_says(exported, model):
    name, path = exported
    card = read_card(path)
    beside = (
        path / CARD if path.is_dir() else path.parent / f"{path.name}.{CARD}"
    )
    assert card == read_card(beside) == json.loads(beside.read_text())
    versions = card.pop("versions")
    assert versions["keras"] == keras.__version__
    assert set(versions) >= {"keras_ffl", "tensorflow", "numpy"}
    assert card == {
        "head": "sub_1",
        "format": name,
        "model": "FeatureFusionModel",
        "task": "Classification",
        "dataset": "toy",
        "classes": ["cat", "dog", "ēmu"],
        "input": {
            "name": "images",
            "shape": ["batch", 4, 4, 2],
            "dtype": "uint8",
            "range": [0, 255],
        },
        "normalization": {
            "included": True,
            "mean": [120, 110],
            "std": [60, 61],
        },
        "central_crop": None,
        "antialias": True,
        "output": {
            "name": "probabilities",
            "shape": ["batch", 3],
            "dtype": "float32",
        },
        "parameters": count_parameters(model.classifier("sub_1"), frozen=True),
        "run": RUN,
        "license": "CC0-1.0",
    }


def test_the_output_of_a_prediction_of_the_user_s_own():
    class Total(tasks.Regression):
        def prediction(self, outputs):
            return {"values": keras.ops.sum(outputs, axis=-1)}

    model = VanillaModel(subnetwork(), task=Total())
    keras.config.set_dtype_policy("mixed_float16")
    assert make_card(model, "vanilla", INFO, "keras")["output"] == {
        "name": "values",
        "shape": ["batch"],
        "dtype": "float32",
    }


def test_a_file_alone_tells_what_it_is(exported, tmp_path):
    _, path = exported
    if path.is_dir():
        alone = shutil.copytree(path, tmp_path / "alone")
    else:
        alone = shutil.copy(path, tmp_path / f"alone{path.suffix}")
    assert read_card(alone) == read_card(path)
    if path.is_file():
        # One of an earlier file.
        alone = tmp_path / alone.name
        alone.with_name(f"{alone.name}.{CARD}").write_text("{}")
        assert read_card(alone) == read_card(path)
    if path.suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path)
        assert session.get_inputs()[0].shape == ["batch", 4, 4, 2]
        assert session.get_outputs()[0].shape == ["batch", 3]
        known = session.get_modelmeta().custom_metadata_map
        assert known["labels"] == "cat\ndog\nēmu"


def test_the_command_shows_it(exported, capsys):
    name, path = exported
    for given in (path, path.parent):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "_JSON", type("Flag", (), {"value": False}))
            command.main([str(given)])
        text = capsys.readouterr().out
        for part in (
            f"sub_1 of FeatureFusionModel, {name}, ",
            "images (batch, 4, 4, 2) uint8, values 0 to 255",
            "mean 120, 110, std 60, 61",
            "3: cat, dog, ēmu",
            "method ffl, networks a+b, epochs 3, checkpoint last, seed 0",
            "top1_error 12.5, split test",
            "CC0-1.0",
        ):
            assert part in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no model card, nor is .*x.onnx.model_card.json one"),
        (b"{", "the model card of .*x.onnx can't be read"),
        (b"[]", "holds no complete model card"),
        (b'{"head": "fused"}', "holds no complete model card"),
        (b"\xff", "the model card of .*x.onnx can't be read"),
    ],
)
def test_no_card(content, message, tmp_path):
    if content:
        (tmp_path / f"x.onnx.{CARD}").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_card(tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["x.onnx", "x.keras", "x.tflite"])
def test_files_of_others(name, tmp_path):
    (tmp_path / name).write_bytes(b"something else, of thirty bytes")
    if name == "x.onnx":
        pytest.importorskip("onnx")
    with pytest.raises(InputError, match=rf"card of .*{name} can't be read"):
        read_card(tmp_path / name)
    with pytest.raises(InputError, match=f"holds no {CARD}"):
        command._heads(tmp_path)


def test_errors_are_those_of_the_weights(model, tmp_path):
    folder = Workdir(tmp_path)
    folder.start(Config(), INFO)
    model.epochs_trained.assign(3)

    def errors(checkpoint, head="fused"):
        return describe_run(folder, model, head, checkpoint)["errors"]

    # Exported before the end of the run.
    assert errors("last") is None
    counted = {"top1_error": 2.0, "top5_error": 1.0, "loss": 0.5}
    best = {"head": "fused", "epoch": 3, "top1_error": 1.5, "split": "holdout"}
    metrics = {
        "heads": {"fused": {**counted, "parameters": 7}},
        "best": best,
        "parameters": 7,
        "multiply_adds": 8,
        "versions": {"keras": "3.15.1"},
        "seconds_per_epoch": None,
    }
    for epoch in (3, 4):
        folder.write_metrics({**metrics, "epoch": epoch})
        of_best = {"top1_error": 1.5, "split": "holdout"}
        # The weights of the third epoch are those of the best one.
        of_last = {**counted, "split": "test"} if epoch == 3 else of_best
        assert (errors("last"), errors("best")) == (of_last, of_best)
        assert errors("best", "sub_1") is None
    found = describe_run(folder, model, "fused")
    assert found["versions"] == {"keras": "3.15.1"}
    assert (found["epochs"], found["method"]) == (3, "ffl")
    config = Config().changed(method="kd", teacher="another/run")
    folder.start(config, INFO)
    student, teacher = (
        describe_run(folder, model, head) for head in ("student", "teacher")
    )
    known = student.keys() - teacher.keys()
    assert known == {"method", "networks", "epochs", "seed"}
    model.epochs_trained.assign(0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run": "x"}, "`run` must be a dict or None, got 'x'"),
        ({"run": {"a": object()}}, "`run` must hold JSON values"),
        ({"license": 3}, "`license` must be a str or None, got 3"),
    ],
)
def test_a_card_that_could_not_be_read(given, message, model, tmp_path):
    with pytest.raises(InputError, match=message):
        write_head(model, "sub_1", INFO, tmp_path / "new", "keras", **given)
    assert not (tmp_path / "new").exists()
