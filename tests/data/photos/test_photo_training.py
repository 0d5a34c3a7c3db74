"""A run on a small folder of photos, from training to an exported head."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from support.photo_builders import (
    encoded,
    make_folder,
    rename_without_utf8,
    smooth,
)

from keras_ffl import InputError, VanillaModel, training
from keras_ffl.config import Config
from keras_ffl.data import PhotoOptions, from_folder
from keras_ffl.data.photos import files
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.export import export_head
from keras_ffl.models import build
from keras_ffl.studies.report import write_figure, write_report
from keras_ffl.studies.report.run_figure import _labels_of_folders
from keras_ffl.workdir import Workdir


def config(folder, **values):
    given = dict(
        dataset="imagefolder",
        data_dir=str(folder),
        image_size=32,
        networks=("resnet8",),
        epochs=1,
        batch_size=4,
        lr_milestones=(),
        label_smoothing=0.1,
        **values,
    )
    if given.get("method", "ffl") != "vanilla":
        given["rampup_epochs"] = 0
    return Config().changed(**given)


@pytest.fixture
def folder(tmp_path):
    """Eight photos of two classes to train on, one of them damaged."""
    root = make_folder(tmp_path / "photos", (4, 5), (2, 2), (64, 64))
    (root / "train" / "b1" / "2.jpg").write_bytes(b"damaged")
    return root


def test_a_run_on_photos(folder, tmp_path, monkeypatch):
    run = config(folder, method="vanilla", verify_images="skip")
    workdir = Workdir(tmp_path / "run")
    with pytest.warns(UserWarning, match="1 photos can't be .*train/b1/2.jpg"):
        metrics = training.train(run, workdir.path, verbose=0)
    assert metrics["steps"] == 2
    assert set(metrics["heads"]) == {"vanilla"}
    info = workdir.dataset_info()
    assert info.left_out == ("train/b1/2.jpg",)
    assert (info.input_shape, info.class_names) == ((32, 32, 3), ("b0", "b1"))

    # What was found to be damaged is known to whatever takes up the run.
    monkeypatch.setattr("keras_ffl.data.photos.readable.find_unreadable", None)
    dataset, _ = training.load_data(workdir.config(), workdir.left_out())
    assert dataset.num_train == 8
    model = workdir.load_model()
    heads = evaluate_heads(model, dataset.evaluation_batches(), dataset.y_test)
    assert json.loads(json.dumps(heads)) == metrics["heads"]

    export_head(model, "vanilla", info, tmp_path / "exported")
    signature = tf.saved_model.load(tmp_path / "exported").signatures[
        "serving_encoded"
    ]
    files = [folder / name for name in dataset.test.names]
    outputs = signature(
        encoded=tf.constant([file.read_bytes() for file in files])
    )
    ((images, _),) = dataset.evaluation_batches()
    logits = model.classifier("vanilla").predict(images, verbose=0)
    np.testing.assert_allclose(
        outputs["probabilities"], tf.nn.softmax(logits), atol=1e-6
    )
    # Of any size and kind.
    others = [
        encoded(smooth(30, 90).convert("L")),
        encoded(smooth(200, 100), "PNG"),
    ]
    outputs = signature(encoded=tf.constant(others))
    assert outputs["probabilities"].shape == (2, 2)
    assert outputs["class_name"][0].numpy() in (b"b0", b"b1")


def test_names_without_utf8(folder, tmp_path):
    """From training to what is written of a run: it is all UTF-8."""
    rename_without_utf8(folder)
    os.remove(os.fsencode(folder) + b"/train/caf\xe9/2.jpg")
    workdir = Workdir(tmp_path / "run")
    training.train(config(folder, method="vanilla"), workdir.path, verbose=0)
    info = workdir.dataset_info()
    assert info.class_names == ("b0", r"caf\xe9")
    model = workdir.load_model()
    export_head(model, "vanilla", info, tmp_path / "exported")
    photo = os.fsdecode(os.fsencode(folder) + b"/val/caf\xe9/0.jpg")
    signature = tf.saved_model.load(tmp_path / "exported").signatures[
        "serving_encoded"
    ]
    with open(photo, "rb") as file:
        outputs = signature(encoded=tf.constant([file.read()]))
    assert outputs["class_name"][0].numpy() in (b"b0", rb"caf\xe9")
    page, _ = write_report(workdir.path, per_group=1)
    assert r"caf\xe9" in page.read_text(encoding="utf-8")
    write_figure(workdir.path, tmp_path / "cam.png", files=[photo])
    assert _labels_of_folders([photo], info) == [1]


@pytest.mark.jax
@pytest.mark.slow
def test_names_without_utf8_on_jax(folder, tmp_path):
    rename_without_utf8(folder)
    script = pathlib.Path(__file__).parents[3] / "scripts" / "train.py"

    def train(*arguments):
        return subprocess.run(
            [
                sys.executable,
                str(script),
                "--preset=quickstart_vanilla",
                "--dataset=imagefolder",
                f"--data_dir={folder}",
                "--set=image_size=32",
                "--set=epochs=1",
                "--set=lr_milestones=1",
                f"--workdir={tmp_path / 'run'}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        )

    done = train()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        rf"error: photo {folder}/train/caf\xe9/2.jpg can't be read"
    )
    done = train("--verify_images=skip", f"--workdir={tmp_path / 'verified'}")
    assert done.returncode == 0, done.stderr
    info = Workdir(tmp_path / "verified").dataset_info()
    assert info.left_out == (r"train/caf\xe9/2.jpg",)


def test_a_damaged_photo_stops_the_run(folder, tmp_path):
    bad = folder / "train" / "b1" / "2.jpg"
    with pytest.raises(InputError, match="train/b1/2.jpg .*INVALID|JPEG|image"):
        training.train(config(folder, verify_images="stop"), tmp_path, 0)
    assert not Workdir(tmp_path).started
    with pytest.raises(InputError, match=f"^photo {bad} can't be read or"):
        training.train(config(folder, method="vanilla"), tmp_path, verbose=0)
    # In Python as well.
    model = VanillaModel(build("resnet8", 2, (16, 16, 3)))
    model.compile()
    dataset = from_folder(folder, PhotoOptions(16))
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(InputError, match=f"^photo {bad} can't be read or"):
            call(dataset.training_batches(4, 0), verbose=0)


def test_photos_that_vanish_in_a_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_KEEP_BYTES", 0)
    (folder / "train" / "b1" / "2.jpg").unlink()
    save = Workdir.save_checkpoint

    def save_and_lose_photos(self, *arguments):
        save(self, *arguments)
        shutil.rmtree(folder)

    monkeypatch.setattr(Workdir, "save_checkpoint", save_and_lose_photos)
    run = config(folder, method="vanilla").changed(epochs=9)
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(InputError, match=f"^photo {folder}/.* can't be read"):
        training.train(run, workdir.path, verbose=0)
    _, epochs = workdir.load_checkpoint()
    assert epochs == len(workdir.read_history()) == 1


def test_a_photo_that_is_gone_starts_no_run(folder, tmp_path, monkeypatch):
    load_data = training.single.load_data

    def loaded(*arguments):
        found = load_data(*arguments)
        (folder / "train" / "b0" / "1.jpg").unlink()
        return found

    monkeypatch.setattr(training.single, "load_data", loaded)
    run = config(folder, method="vanilla")
    with pytest.raises(InputError, match="b0/1.jpg; No such file"):
        training.train(run, tmp_path / "run", verbose=0)
    assert not Workdir(tmp_path / "run").started
