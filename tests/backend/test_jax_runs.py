"""Runs from a `.npz` file on JAX, without TensorFlow."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest
from support.processes import run_on_jax

from keras_ffl import cli
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.training import load_data
from keras_ffl.workdir import Workdir

pytestmark = [pytest.mark.jax, pytest.mark.slow]
ACCUMULATED = "--set=gradient_accumulation_steps=2"
SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `data.npz` and room for runs."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=72)
    # Something that can be learnt: the classes' brightness differs.
    x = rng.integers(0, 90, (72, 8, 8, 3)) + 80 * y[:, None, None, None]
    np.savez(
        folder / "data.npz",
        x_train=x[:48].astype("uint8"),
        y_train=y[:48],
        x_test=x[48:].astype("uint8"),
        y_test=y[48:],
    )
    return folder


def train(folder, name, *arguments):
    return run_on_jax(
        SCRIPTS / "train.py",
        "--preset=quickstart_vanilla",
        "--dataset=npz",
        f"--data_dir={folder / 'data.npz'}",
        "--set=batch_size=16",
        "--set=epochs=2",
        "--set=lr_milestones=1",
        # Without a meaning for photos.
        *["--set=pad=1"] * ("--dataset=imagefolder" not in arguments),
        f"--workdir={folder / name}",
        *arguments,
        capture_output=True,
    )


def values(folder):
    model = Workdir(folder).load_model()
    return [
        keras.ops.convert_to_numpy(v)
        for v in (*model.weights, *model.optimizer.variables)
    ]


@pytest.fixture(scope="module")
def whole(folder):
    """A run without an interruption."""
    done = train(folder, "whole", ACCUMULATED)
    assert done.returncode == 0, done.stderr
    return Workdir(folder / "whole")


def test_a_run_in_boxes_of_time_is_the_whole_run(folder, whole):
    # A step takes longer.
    for step in (1, 2):
        box = train(folder, "boxes", ACCUMULATED, "--max_minutes=0.001")
        assert box.returncode == cli.UNFINISHED == 75, box.stderr
        assert (
            f"stopped after step {step} of epoch 1, since the time was up"
        ) in box.stdout
    assert not Workdir(folder / "boxes").finished(2)
    rest = train(folder, "boxes", ACCUMULATED, "--max_minutes=60")
    assert rest.returncode == 0, rest.stderr
    for ours, theirs in zip(
        values(folder / "boxes"), values(whole.path), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    history = Workdir(folder / "boxes").history
    assert history.read_text() == whole.history.read_text()


def test_eight_devices_stop_after_a_step(folder):
    eight = "--strategy=mirrored", "--logical_cpus=8", "--deterministic"
    assert train(folder, "eight", *eight).returncode == 0
    for step in (1, 2):
        box = train(folder, "eight_boxes", *eight, "--max_minutes=0.001")
        assert box.returncode == cli.UNFINISHED, box.stderr
        assert f"stopped after step {step} of epoch 1, since" in box.stdout
    assert train(folder, "eight_boxes", *eight).returncode == 0
    ours, theirs = folder / "eight_boxes", folder / "eight"
    for cut, uncut in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_array_equal(cut, uncut)
    assert (
        Workdir(ours).history.read_text() == Workdir(theirs).history.read_text()
    )


def test_results_are_read_on_tensorflow(folder, whole):
    metrics = whole.read_metrics()
    # Six batches.
    assert metrics["steps"] == 3
    assert set(metrics["versions"]) == {
        "keras_ffl",
        "jax",
        "jaxlib",
        "keras",
        "numpy",
    }
    assert [row["epoch"] for row in whole.read_history()] == [0, 1]
    dataset, _ = load_data(whole.config())
    heads = evaluate_heads(
        whole.load_model(), dataset.evaluation_batches(10), dataset.y_test
    )
    assert heads["vanilla"] == pytest.approx(
        metrics["heads"]["vanilla"], rel=1e-4
    )


def test_evaluate(folder, whole):
    done = run_on_jax(
        SCRIPTS / "evaluate.py",
        f"--workdir={whole.path}",
        "--json",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    heads = json.loads(done.stdout)
    assert heads == whole.read_metrics()["heads"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--dataset=imagefolder", "--data_dir=photos"],
            "photos.* need tensorflow, which is not installed",
        ),
        (["--strategy=tpu"], "auto, one or mirrored with Keras' backend jax"),
        (["--strategy=mirrored"], "mirrored needs several devices"),
        (
            [
                "--preset=quickstart",
                "--set=fusion_filters=1000000000",
                "--set=rampup_epochs=0",
            ],
            "large trainings need psutil, which is not installed",
        ),
        (["--set=use_fkd=false"], "`use_fkd` has no meaning for method van"),
        (["--max_minutes=0"], "`max_minutes` must be > 0, got 0"),
    ],
)
def test_what_can_t_be_done_is_said_in_one_line(
    arguments, message, folder, monkeypatch
):
    monkeypatch.chdir(folder)
    for split in ("train", "val"):
        for name in "ab":
            photos = folder / "photos" / split / name
            photos.mkdir(parents=True, exist_ok=True)
            (photos / "photo.jpg").write_bytes(b"not read")
    done = train(folder, "bad", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
