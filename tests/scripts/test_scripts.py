"""The scripts as a user starts them."""

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from support.script_runs import run_here

from keras_ffl import presets
from keras_ffl.config import Config
from keras_ffl.workdir import Workdir

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"

# 1,437 training images: six steps an epoch.
SMALL = [
    "--preset=quickstart",
    "--deterministic",
    "--set=epochs=4",
    "--set=batch_size=256",
    "--set=lr_milestones=3",
    "--set=rampup_epochs=4",
]


def command(script, *arguments):
    return [sys.executable, str(SCRIPTS / script), *map(str, arguments)]


def run(script, *arguments):
    return subprocess.run(
        command(script, *arguments), capture_output=True, text=True
    )


@pytest.fixture
def refusal(monkeypatch, capfd):
    """Function that runs a script and returns its error of one line."""

    def refusal(script, *arguments):
        status = run_here(script, arguments, monkeypatch)
        printed = capfd.readouterr()
        assert status == 1 and "Traceback" not in printed.err
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ")
        return line

    return refusal


def weights(workdir, epochs):
    path = Workdir(workdir).checkpoint_files()[epochs]
    model = keras.models.load_model(path)
    return model.get_weights() + [
        keras.ops.convert_to_numpy(v) for v in model.optimizer.variables
    ]


def kill_within_epoch(workdir, epoch):
    """Starts training and kills it (-9) in the middle of an epoch."""
    with subprocess.Popen(
        command("train.py", *SMALL, "--verbose", f"--workdir={workdir}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        printed = b""
        middle = re.compile(rb"Epoch %d/4.*[^0-9]3/6" % epoch, re.DOTALL)
        while not middle.search(printed):
            read = process.stdout.read1(4096)
            assert read, printed.decode()
            printed += read
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = run("train.py", *SMALL, f"--workdir={whole}")
    assert result.returncode == 0, result.stderr
    assert "fused" in result.stdout and "top-1 error %" in result.stdout
    # Neither TensorFlow's start-up lines nor a progress bar in a pipe.
    assert result.stderr == "" and "\r" not in result.stdout
    *lines, files = result.stdout.splitlines()
    assert max(map(len, lines)) < 80 and files.startswith(str(whole))

    kill_within_epoch(cut, 3)
    assert list(Workdir(cut).checkpoint_files()) == [2, 1]
    assert not Workdir(cut).metrics.exists()
    result = run("train.py", *SMALL, f"--workdir={cut}")
    assert result.returncode == 0, result.stderr

    # Finished epochs are not run again.
    assert re.findall(r"Epoch (\d)/4", result.stdout) == ["3", "4"]
    assert Workdir(cut).read_metrics()["steps"] == 4 * 6
    rows = Workdir(cut).read_history()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows == Workdir(whole).read_history()
    for a, b in zip(weights(whole, 4), weights(cut, 4), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (
        Workdir(whole).read_metrics()["heads"]
        == Workdir(cut).read_metrics()["heads"]
    )

    result = run("evaluate.py", f"--workdir={cut}", "--json")
    assert result.returncode == 0, result.stderr
    heads = json.loads(result.stdout)
    expected = Workdir(cut).read_metrics()["heads"]
    for head, values in expected.items():
        assert heads[head]["top1_error"] == values["top1_error"]
        assert heads[head]["loss"] == pytest.approx(values["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["--preset=fast"], "unknown preset 'fast'; known"),
        ("train.py", ["--set=epoch=3"], "unknown configuration key 'epoch'"),
        ("train.py", ["--set=networks=vgg"], "vgg"),
        ("train.py", ["--dataset=mnist"], "'mnist'"),
        ("train.py", ["stray"], "unexpected argument 'stray'"),
        (
            "train.py",
            ["--dataset=cifar100", "--data_dir=nowhere"],
            "nowhere",
        ),
        ("evaluate.py", [], "holds no run"),
        ("predict.py", ["x.png"], "holds no run"),
        ("predict.py", [], "`predict` needs the path of an image"),
        ("export.py", ["--output=o"], "holds no run"),
        ("export.py", ["--output=o", "--formats="], "`formats` must be all"),
        ("transfer.py", ["--dataset=digits"], "holds no run"),
        (
            "transfer.py",
            ["--dataset=digits", "--compare=a", "--compare=b"],
            "already defined as ['a']",
        ),
        ("train.py", ["--set=lr_milestones=15,10"], "milestones"),
    ],
)
def test_bad_input_is_one_line(script, arguments, message, tmp_path, refusal):
    workdir = tmp_path / "run"
    assert message in refusal(script, *arguments, f"--workdir={workdir}")
    assert not Workdir(workdir).started


EMPTY_PATHS = [
    ("train.py", "workdir", []),
    ("transfer.py", "workdir", ["--dataset=digits"]),
    ("evaluate.py", "workdir", []),
    ("evaluate.py", "data_dir", ["--workdir=w"]),
    ("predict.py", "workdir", ["x.png"]),
    ("export.py", "workdir", ["--output=o"]),
    ("export.py", "output", ["--workdir=w"]),
    ("gradcam.py", "workdir", ["--output=o.png"]),
    ("quickstart.py", "workdir", []),
    ("report.py", "workdir", []),
    ("report.py", "compare", ["--workdir=w"]),
    ("reproduce.py", "workdir", ["--table=2"]),
    ("train.py", "teacher", ["--workdir=w", "--method=kd"]),
    ("transfer.py", "compare", ["--workdir=w", "--dataset=digits"]),
]


@pytest.mark.parametrize(("script", "flag", "arguments"), EMPTY_PATHS)
def test_an_empty_path_is_refused(
    script, flag, arguments, tmp_path, monkeypatch, refusal
):
    monkeypatch.chdir(tmp_path)
    expected = f"error: `{flag}` must be a path, got an empty one"
    assert refusal(script, f"--{flag}=", *arguments) == expected
    assert not list(tmp_path.iterdir())


def test_the_home_folder(tmp_path, monkeypatch, refusal):
    monkeypatch.setenv("HOME", str(tmp_path))
    message = refusal("evaluate.py", "--workdir=~/none")
    assert f"{tmp_path}/none" in message
    message = refusal("report.py", "--workdir=~/none", "--compare=~/other,~/3")
    assert f"{tmp_path}/none" in message and "~" not in message
    assert Config(data_dir="~/data").data_dir == f"{tmp_path}/data"


NUMBERS = [
    ("train.py", "seed", ["--workdir=w"]),
    ("train.py", "logical_cpus", ["--workdir=w"]),
    ("quickstart.py", "seed", ["--workdir=w"]),
    ("reproduce.py", "runs", ["--table=2", "--workdir=w"]),
    ("reproduce.py", "jobs", ["--table=2", "--workdir=w"]),
    ("reproduce.py", "shard", ["--table=2", "--workdir=w"]),
    ("transfer.py", "fine_tune", ["--workdir=w", "--dataset=digits"]),
    ("transfer.py", "splits", ["--workdir=w", "--dataset=digits"]),
    ("gradcam.py", "dpi", ["--workdir=w", "--output=o.png"]),
]


@pytest.mark.parametrize(("script", "flag", "arguments"), NUMBERS)
def test_a_number_of_thousands_of_digits_is_refused(
    script, flag, arguments, tmp_path, monkeypatch, refusal
):
    monkeypatch.chdir(tmp_path)
    for digits in (4000, 5000):
        number = "9" * digits
        value = f"{number}/{number}" if flag == "shard" else number
        assert flag in refusal(script, f"--{flag}={value}", *arguments)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "flag", "arguments"),
    [
        ("transfer.py", "epochs", ["--dataset=digits"]),
        ("export.py", "calibration", ["--output=o", "--format=keras"]),
        ("gradcam.py", "per_group", ["--output=o.png", "--image=x.png"]),
        ("gradcam.py", "seed", ["--output=o.png", "--image=x.png"]),
        ("gradcam.py", "data_dir", ["--output=o.png", "--image=x.png"]),
        ("export.py", "data_dir", ["--output=o", "--format=keras"]),
    ],
)
def test_a_flag_without_a_meaning(
    script, flag, arguments, tmp_path, monkeypatch, refusal
):
    monkeypatch.chdir(tmp_path)
    message = refusal(script, f"--{flag}=7", "--workdir=w", *arguments)
    assert message.startswith(f"error: `{flag}` has no meaning w")
    assert message.endswith((", got 7", ", got '7'"))


def test_transfer_overwrites_nothing(tmp_path, refusal):
    output = tmp_path / "transfer.json"
    output.write_text("mine")
    line = refusal(
        "transfer.py",
        f"--workdir={tmp_path}",
        "--dataset=digits",
        f"--output={output}",
    )
    assert line == f"error: `output` {output} already exists"
    assert output.read_text() == "mine"


@pytest.mark.slow
def test_every_format_of_a_trained_run(tmp_path):
    """Float formats within 1e-4 of predict, int8 within a point of error."""
    for module in ("ai_edge_litert", "onnxruntime", "tf2onnx"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    # Smaller batches, so more steps: int8 changes many of the predictions of a
    # network that has hardly trained.
    recipe = [each.replace("=256", "=32") for each in SMALL]
    result = run("train.py", *recipe, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    arguments = ["--formats=all", "--measure", f"--output={tmp_path / 'out'}"]
    arguments.append(f"--workdir={tmp_path / 'run'}")
    result = run("export.py", *arguments)
    assert result.returncode == 0, result.stderr + result.stdout
    # Four heads in five formats, two sub-networks' among them.
    assert len(re.findall("  yes$", result.stdout, re.MULTILINE)) == 4 * 5
    assert "sub_2 litert_int8" in result.stdout and "ms at 128" in result.stdout
    again = run("export.py", *arguments)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("error: `output` ")
    assert "already exists" in again.stderr


def test_missing_workdir_flag():
    result = run("train.py")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and "--workdir" in line


def check_quickstart(path, printed):
    folder = Workdir(path / "quickstart")
    heads = folder.read_metrics()["heads"]
    assert folder.curves.exists()
    for head in heads:
        assert (folder.path / "exported" / head / "saved_model.pb").exists()
        assert f"FFL {head}" in printed
    assert "the network alone" in printed and "next steps" in printed
    return heads["fused"]["top1_error"]


def test_quickstart_of_an_epoch(tmp_path, monkeypatch, capfd):
    for name in ("quickstart", "quickstart_vanilla"):
        recipe = presets.PRESETS[name]() | dict(epochs=1, lr_milestones=())
        monkeypatch.setitem(presets.PRESETS, name, lambda recipe=recipe: recipe)
    arguments = [f"--workdir={tmp_path}"]
    assert run_here("quickstart.py", arguments, monkeypatch) == 0
    check_quickstart(tmp_path, capfd.readouterr().out)
    assert run_here("quickstart.py", arguments, monkeypatch) == 0
    assert "Epoch" not in capfd.readouterr().out


@pytest.mark.slow
def test_quickstart_from_end_to_end(tmp_path):
    result = run("quickstart.py", f"--workdir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert check_quickstart(tmp_path, result.stdout) <= 1.5
