"""The folder of a run."""

import dataclasses
import json
import os

import keras
import numpy as np
import pytest

from keras_ffl import InputError, data
from keras_ffl.config import Config
from keras_ffl.workdir import Workdir

INFO = data.DatasetInfo("toy", 2, (4, 4, 1), ("a", "b"), (1.0,), (2.0,), False)


@pytest.fixture
def folder(tmp_path):
    folder = Workdir(tmp_path / "run")
    folder.check(Config())
    folder.start(Config(), INFO)
    return folder


def model_of(value):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.full((1, 1), value), np.zeros(1)])
    return model


def metrics_of(epoch):
    return {
        "epoch": epoch,
        "heads": {"vanilla": {"top1_error": 50.0}},
        "parameters": 1,
        "multiply_adds": 1,
        "versions": {},
        "seconds_per_epoch": None,
    }


def value_of(model):
    return float(model.get_weights()[0][0, 0])


def test_configuration_and_data_set_come_back(folder):
    assert folder.config() == Config()
    assert folder.dataset_info() == INFO


def test_more_epochs_and_another_data_dir_are_fine(folder):
    folder.check(dataclasses.replace(Config(), epochs=400, data_dir="x"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 4.0}, "temperature is 3.0, requested 4.0"),
        ({"seed": 1, "pad": 0}, "pad is 4, requested 0; seed is 0"),
        ({"epochs": 10}, "epochs is 300, requested fewer: 10"),
    ],
)
def test_other_configurations_are_refused(folder, change, message):
    before = (folder.path / "config.json").read_text()
    with pytest.raises(InputError, match=message):
        folder.check(Config().changed(**change))
    assert (folder.path / "config.json").read_text() == before


def test_what_nothing_looks_at_may_differ(folder):
    average = Config(options={"fusion": "average"})
    folder.start(average, INFO)
    before = (folder.path / "config.json").read_text()
    other = {"fusion": "average", "fusion_filters": 8}
    folder.check(Config(options=other))
    with pytest.raises(InputError, match="use_fkd is True, requested False"):
        folder.check(Config(options={**other, "use_fkd": False}))
    assert (folder.path / "config.json").read_text() == before


def test_a_cosine_schedule_can_not_be_made_longer(tmp_path):
    folder = Workdir(tmp_path)
    config = Config(lr_schedule="cosine", epochs=3)
    folder.start(config, INFO)
    with pytest.raises(InputError, match="cosine"):
        folder.check(dataclasses.replace(config, epochs=4))


def test_a_workdir_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file/run can't be written"):
        Workdir(tmp_path / "file" / "run").check(Config())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "shown"),
    [("", "''"), (os.fsdecode(b"caf\xe9/run"), r"'caf\xe9/run'")],
)
def test_paths_that_no_run_can_have(path, shown):
    with pytest.raises(InputError) as error:
        Workdir(path)
    assert str(error.value) == (
        f"`workdir` must be the path of a folder, in UTF-8, got {shown}"
    )


def test_damaged_json_is_named(folder):
    (folder.path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json can't be read as JSON"):
        folder.config()


def test_json_with_a_number_that_python_refuses(folder):
    path = folder.path / "config.json"
    path.write_text('{"seed": ' + "9" * 5000 + "}")
    with pytest.raises(InputError, match="can't be read as JSON: Exceeds"):
        folder.config()


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        Workdir(tmp_path).load_model()


def test_checkpoints_are_rotated(folder):
    assert folder.load_checkpoint() == (None, 0)
    for epoch in (1, 2, 3):
        folder.save_checkpoint(model_of(epoch), epoch, keep=2)
    assert list(folder.checkpoint_files()) == [3, 2]
    model, epochs = folder.load_checkpoint()
    assert (value_of(model), epochs) == (3, 3)
    assert not list(folder.checkpoints.glob("unfinished*"))


def test_a_truncated_checkpoint_is_passed_over(folder, caplog):
    for epoch in (1, 2):
        folder.save_checkpoint(model_of(epoch), epoch, keep=2)
    newest = folder.checkpoint_files()[2]
    newest.write_bytes(newest.read_bytes()[:1000])
    model, epochs = folder.load_checkpoint()
    assert (value_of(model), epochs) == (1, 1)
    assert "epoch_0002.keras is damaged" in caplog.text

    oldest = folder.checkpoint_files()[1]
    oldest.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint can be read: .*0002"):
        folder.load_checkpoint()
    assert oldest.exists() and newest.exists()


@pytest.mark.parametrize("nested", [False, True])
def test_a_class_that_is_not_imported(folder, nested):
    @keras.saving.register_keras_serializable(package="theirs")
    class Mine(keras.layers.Layer if nested else keras.Sequential):
        pass

    layers = [keras.Input((1,)), Mine() if nested else keras.layers.Dense(1)]
    model = (keras.Sequential if nested else Mine)(layers)
    for epochs in (1, 2):
        folder.save_checkpoint(model, epochs, keep=2)
    keras.saving.get_custom_objects().pop("theirs>Mine")
    with pytest.raises(InputError) as error:
        folder.load_checkpoint()
    assert str(error.value) == (
        f"checkpoint {folder.checkpoint_files()[2]} needs the class Mine of "
        f"module {__name__}: import it first (commands: --import={__name__})"
    )


def test_checkpoints_of_an_unknown_run_are_refused(tmp_path):
    folder = Workdir(tmp_path)
    folder.check(Config())
    folder.save_checkpoint(model_of(1), 1, keep=2)
    with pytest.raises(InputError, match="checkpoints but no config.json"):
        folder.check(Config())


def test_json_that_is_no_object(folder):
    (folder.path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="config.json must hold a JSON obj"):
        folder.config()


def test_what_is_ahead_of_the_checkpoint_is_dropped(folder):
    for epochs in (1, 2, 3):
        folder.save_checkpoint(model_of(epochs), epochs, keep=3)
    folder.save_best(model_of(3), 3)
    folder.history.write_text("epoch,loss\n0,3.0\n1,2.0\n2,1.5\n")
    folder.cut_to(2)
    assert list(folder.checkpoint_files()) == [2, 1]
    assert folder.best_epochs() is None
    assert [row["epoch"] for row in folder.read_history()] == [0, 1]


def test_finished_is_about_the_epochs(folder):
    assert not folder.finished(2)
    folder.write_metrics(metrics_of(2))
    assert folder.finished(2) and not folder.finished(4)


def test_best_and_last_model(folder):
    folder.save_checkpoint(model_of(2), 2, keep=2)
    assert folder.best_epochs() is None
    with pytest.raises(InputError, match="no checkpoint of the best epoch"):
        folder.load_model("best")
    folder.save_best(model_of(0), 1)
    folder.save_best(model_of(1), 2)
    assert folder.best_epochs() == 2
    folder.save_checkpoint(model_of(2), 2, keep=2)
    assert len(list(folder.checkpoints.glob("best_*"))) == 1
    assert value_of(folder.load_model("best")) == 1
    assert value_of(folder.load_model("last")) == 2
    with pytest.raises(InputError, match="last or best, got 'first'"):
        folder.load_model("first")


def test_history_is_cut_to_the_checkpoint(folder):
    folder.history.write_text("epoch,loss\n0,3.0\n1,2.0\n2,1.5\n3,1.")
    folder.cut_to(2)
    assert folder.history.read_text().split() == [
        "epoch,loss",
        "0,3.0",
        "1,2.0",
    ]
    assert folder.read_history() == [
        {"epoch": 0.0, "loss": 3.0},
        {"epoch": 1.0, "loss": 2.0},
    ]
    folder.cut_to(0)
    assert folder.read_history() == []
    assert not folder.history.exists()


def test_a_half_written_row_is_left_out(folder):
    folder.history.write_text("epoch,loss,error\n0,3.0,1\n1,2.0")
    assert folder.read_history() == [{"epoch": 0.0, "loss": 3.0, "error": 1.0}]


def test_metrics(folder):
    folder.write_metrics(metrics_of(3))
    assert json.loads(folder.metrics.read_text()) == metrics_of(3)
    assert folder.read_metrics() == metrics_of(3)


DAMAGED_INFO = {
    "std": ["no", [None], [[1.0]], [0.0], [float("nan")]],
    "mean": [None, "x", ["1"]],
    "class_names": [None, "ab", [1, 2]],
    "left_out": [3, [4]],
    "input_shape": [[], "888", [8, 8, "1"], 8],
    "num_classes": ["2", None, 2.5, 0],
    "flip": ["no", None, 1],
    "central_crop": ["a", 2],
    "name": [None, 3],
}


@pytest.mark.parametrize("field", DAMAGED_INFO)
def test_damaged_descriptions_of_data(field, folder):
    path = folder.path / "dataset.json"
    whole = json.loads(path.read_text())
    for value in DAMAGED_INFO[field]:
        path.write_text(json.dumps(whole | {field: value}))
        with pytest.raises(InputError, match=f"dataset.json: .*`{field}`"):
            folder.dataset_info()
    path.write_text(json.dumps({k: whole[k] for k in whole if k != field}))
    if field not in ("central_crop", "left_out"):
        with pytest.raises(InputError, match="dataset.json: the fields of a"):
            folder.dataset_info()


@pytest.mark.parametrize("name", ["config.json", "dataset.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"\xff\xfe", b'"text"', b"", b"null"]
)
def test_files_that_are_no_json(name, content, folder):
    (folder.path / name).write_bytes(content)
    read = folder.config if name == "config.json" else folder.dataset_info
    with pytest.raises(InputError, match=f"{name} (can't be read as|must ho)"):
        read()
    assert (folder.path / name).read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": None}, "`heads` is missing or has another type. Delete it"),
        ({"heads": [1]}, "`heads` is missing"),
        ({"heads": {"vanilla": [1]}}, "`vanilla` in `heads` must hold numbers"),
        ({"heads": {"vanilla": {"loss": "x"}}}, "`vanilla` in `heads` must"),
        ({"epoch": "2"}, "`epoch` is missing or has another type"),
        ({"versions": 3}, "`versions` is missing"),
    ],
)
def test_damaged_metrics(changes, message, folder):
    folder.write_metrics(metrics_of(2) | changes)
    with pytest.raises(InputError, match=f"metrics.json is damaged: {message}"):
        folder.finished(2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch,loss\n0,1.0\n1,x\n2,1.0\n", "line 3 must be 2 numbers, got"),
        (b"epoch,loss\n0,1.0\n1\n2,1.0\n", "line 3 must be 2 numbers, got"),
        (b"loss\n1.0\n", "has no column `epoch`"),
        (b"epoch,loss\n0,\xff\xff\n1,2\n", "can't be read: .*utf-8"),
    ],
)
def test_damaged_histories(content, message, folder, caplog):
    folder.history.write_bytes(content)
    with pytest.raises(InputError, match=f"history.csv.* ?{message}"):
        folder.read_history()
    # A run resumes without it, and says so.
    folder.cut_to(3)
    assert folder.read_history() == []
    (aside,) = folder.path.glob("history_*.csv")
    assert aside.read_bytes() == content
    assert f"it is kept as {aside.name}" in caplog.text


@pytest.mark.parametrize(
    ("epochs", "message", "kept"),
    [
        ((0, 1), "it lacks 1 of 3 epochs", [0, 1]),
        ((0, 2), "it lacks 1 of 3 epochs", [0, 2]),
        ((0, 1, 1, 2), "it has an epoch twice", [0, 1, 2]),
        ((), "it lacks 3 of 3 epochs", []),
    ],
)
def test_histories_with_other_epochs(epochs, message, kept, folder, caplog):
    rows = "".join(f"{epoch},1.5\n" for epoch in epochs)
    folder.history.write_text(f"epoch,loss\n{rows}")
    folder.cut_to(3)
    assert message in caplog.text
    assert [row["epoch"] for row in folder.read_history()] == kept
    (aside,) = folder.path.glob("history_*.csv")
    assert aside.read_text().count("1.5") == len(epochs)


def test_a_checkpoint_that_is_gone(folder, caplog):
    folder.save_checkpoint(model_of(1), 1, keep=2)
    folder.history.write_text("epoch,loss\n0,1.5\n")
    folder.load_model()
    assert not caplog.text
    folder.history.write_text("epoch,loss\n0,1.5\n1,1.5\n")
    folder.load_model()
    assert "no checkpoint of epoch 2; this is the model of epoch 1" in (
        caplog.text
    )
    folder.history.unlink()
    folder.write_metrics(metrics_of(3))
    folder.load_model()
    assert "no checkpoint of epoch 3; this is the model of" in caplog.text


@pytest.mark.parametrize(
    "name", ["metrics.json", "history.csv", "checkpoints/epoch_0001.keras"]
)
def test_a_folder_in_the_place_of_a_file(name, folder):
    (folder.path / name).mkdir()
    with pytest.raises(InputError, match=f"{name} must be a file, got a fol"):
        folder.check(Config())
    assert (folder.path / name).is_dir()
