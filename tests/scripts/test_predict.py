"""The command `predict` against a head's own probabilities."""

import json

import keras
import numpy as np
import pytest
from support import builders
from support.photo_builders import make_folder
from support.script_runs import run_here

from keras_ffl import training
from keras_ffl.config import Config
from keras_ffl.models import NETWORKS
from keras_ffl.tasks import Classification

CONFIG = Config().changed(
    dataset="imagefolder",
    image_size=16,
    networks=("tiny", "tiny"),
    method="ensemble",
    epochs=1,
    batch_size=4,
    lr_milestones=(),
)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    def network(num_classes, input_shape):
        return builders.subnetwork(classes=num_classes, image=input_shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", network)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    photos = make_folder(folder / "photos", (4, 4), (2, 3), (64, 48))
    config = CONFIG.changed(data_dir=str(photos))
    training.train(config, folder / "run", verbose=0)
    return folder


def printed(run, arguments, monkeypatch, capsys):
    arguments = [f"--workdir={run / 'run'}", *arguments]
    status = run_here("predict.py", arguments, monkeypatch)
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


@pytest.mark.parametrize(("head", "cooled"), [("ensemble", 1), ("sub_2", 3)])
def test_probabilities_are_those_of_the_head(
    head, cooled, run, monkeypatch, capsys
):
    if cooled > 1:
        # A task of one's own.
        monkeypatch.setattr(
            Classification,
            "prediction",
            lambda _, z: {"probabilities": keras.ops.softmax(z / cooled)},
        )
    model, _ = training.load_run(run / "run")
    dataset, _ = training.load_data(
        CONFIG.changed(data_dir=str(run / "photos"))
    )
    ((images, y),) = dataset.evaluation_batches(5)
    logits = model.classifier(head).predict(images, verbose=0)
    powers = np.exp(logits.astype("float64") / cooled)
    expected = powers / powers.sum(axis=1, keepdims=True)

    given = ["--json", f"--head={head}", run / "photos" / "val"]
    status, lines, _ = printed(run, given, monkeypatch, capsys)
    assert status == 0
    found = [json.loads(line) for line in lines]
    assert [each["image"] for each in found] == [
        str(run / "photos" / name) for name in dataset.test.names
    ]
    for each, row in zip(found, expected, strict=True):
        order = np.argsort(-row)
        classes = [best["class"] for best in each["classes"]]
        assert classes == [f"b{k}" for k in order]
        for best, k in zip(each["classes"], order, strict=True):
            assert best["probability"] == pytest.approx(row[k], abs=1e-5)


def test_the_likeliest_class_of_files(run, monkeypatch, capsys):
    files = [run / "photos/val/b1/2.jpg", run / "photos/train/b0/0.jpg"]
    files.append(files[0])
    status, lines, _ = printed(run, ["--top=1", *files], monkeypatch, capsys)
    assert status == 0 and len(lines) == 3
    for file, line in zip(files, lines, strict=True):
        path, _, best = line.rpartition(": ")
        name, value = best.split()
        assert path == str(file) and name in ("b0", "b1")
        assert 0.5 <= float(value) <= 1


def test_bad_images(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = run / "photos/val/b0/0.jpg"
    for given, classified, message in (
        (tmp_path / "none.png", 1, "none.png can't be read"),
        (tmp_path / "bad.png", 1, "bad.png can't be decoded"),
        (tmp_path / "empty", 0, "empty holds no .jpeg, .jpg or .png file"),
        ("", 0, "`predict` needs the path of an image, got ''"),
        ("--head=fused", 0, "`head` must be one of sub_1, sub_2, ensemble"),
    ):
        arguments = [given, good]
        status, lines, error = printed(run, arguments, monkeypatch, capsys)
        assert (status, len(lines)) == (1, classified), given
        assert all(line.startswith(f"{good}: ") for line in lines)
        assert message in error and "Traceback" not in error


def test_folders_as_in_training_and_many_images(
    run, tmp_path, monkeypatch, capsys
):
    """Links count, hidden files don't."""
    (tmp_path / "linked").symlink_to(run / "photos/val")
    (tmp_path / "loop").symlink_to(tmp_path)
    hidden = tmp_path / "linked" / "b1" / "._0.jpg"
    hidden.write_bytes(b"of another system")
    # More than are decoded at once.
    again = [run / "photos/val/b1/2.jpg"] * 300
    try:
        arguments = [tmp_path, *again]
        status, lines, _ = printed(run, arguments, monkeypatch, capsys)
    finally:
        hidden.unlink()
    paths = [line.partition(": ")[0] for line in lines]
    folder = tmp_path / "linked"
    assert status == 0
    assert paths[5:] == [str(file) for file in again]
    assert len({line.partition(": ")[2] for line in lines[4:]}) == 1
    assert paths[:5] == [
        f"{folder}/b{label}/{k}.jpg"
        for label, count in enumerate((2, 3))
        for k in range(count)
    ]
