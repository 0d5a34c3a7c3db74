"""Every script with every option on JAX, without TensorFlow where it can be.

`train.py` is in test_jax_runs.py and test_jax_devices.py too.
"""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image
from support.processes import run_on_jax

from keras_ffl.workdir import Workdir

pytestmark = [pytest.mark.jax, pytest.mark.slow]
SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
NAMES = ("dark", "grey", "bright")
WITHOUT_TENSORFLOW = "need tensorflow, which is not installed"


def run(script, *arguments, **options):
    """What a script printed; that it ended well."""
    done = start(script, *arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def start(script, *arguments, **options):
    path = script if isinstance(script, pathlib.Path) else SCRIPTS / script
    return run_on_jax(path, *arguments, capture_output=True, **options)


def error_of(script, *arguments, **options):
    """The one line that a script ended with."""
    done = start(script, *arguments, **options)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of FFL and of the network alone, and their data."""
    folder = tmp_path_factory.mktemp("on_jax")
    with pytest.MonkeyPatch.context() as patch:
        # Each program is compiled once for all processes.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        random = np.random.default_rng(0)
        y = np.arange(72) % 3
        x = random.integers(0, 90, (72, 8, 8, 3)) + 80 * y[:, None, None, None]
        x = x.astype("uint8")
        np.savez(
            folder / "data.npz",
            x_train=x[:48],
            y_train=y[:48],
            x_test=x[48:],
            y_test=y[48:],
            class_names=NAMES,
        )
        for name, preset in (("ffl", "quickstart"), ("vanilla",) * 2):
            train(folder, name, preset)
        # The data moves: `--data_dir` says where to.
        (folder / "data.npz").rename(folder / "moved.npz")
        (folder / "names.txt").write_text("dark night\nbright day\n")
        for name, image in zip(NAMES, x):
            (folder / name).mkdir()
            Image.fromarray(image).save(folder / name / "image.png")
        yield folder


def train(folder, name, preset, *arguments):
    if preset == "vanilla":
        preset = "quickstart_vanilla"
    return run(
        "train.py",
        f"--preset={preset}",
        "--dataset=npz",
        f"--data_dir={folder / 'data.npz'}",
        "--set=batch_size=16",
        "--set=epochs=1",
        "--set=lr_milestones=",
        "--set=pad=1",
        f"--workdir={folder / name}",
        *arguments,
    )


def shown(folder, output):
    """Options that the scripts of pictures share."""
    return (
        f"--workdir={folder / 'ffl'}",
        f"--compare={folder / 'vanilla'}",
        f"--data_dir={folder / 'moved.npz'}",
        f"--class_names={folder / 'names.txt'}",
        f"--output={folder / output}",
        "--checkpoint=best",
        "--per_group=2",
        "--seed=1",
    )


def test_evaluate(folder):
    arguments = [
        f"--workdir={folder / 'ffl'}",
        f"--data_dir={folder / 'moved.npz'}",
    ]
    assert "sub_2" in run("evaluate.py", *arguments, "--checkpoint=best")
    found = json.loads(run("evaluate.py", *arguments, "--json"))
    assert found == Workdir(folder / "ffl").read_metrics()["heads"]


def test_report(folder):
    run("report.py", *shown(folder, "report.html"), "--samples=12")
    page = (folder / "report.html").read_text()
    assert "jaxlib" in page and "night" in page
    numbers = json.loads((folder / "report.json").read_text())
    assert (numbers["images"], numbers["samples"]) == (24, 12)
    assert set(numbers["heads"]) > {"fused", "vanilla"}


def test_gradcam(folder):
    found = run(
        "gradcam.py",
        *shown(folder, "maps.png"),
        "--plus_plus",
        "--class=grey",
        "--dpi=30",
    )
    with Image.open(folder / "maps.png") as picture:
        assert min(picture.size) > 60
    assert str(folder / "maps.png") in found


def test_gradcam_of_files_and_of_a_layer(folder):
    arguments = [
        f"--workdir={folder / 'vanilla'}",
        f"--output={folder / 'files.svg'}",
        *(f"--image={folder / name / 'image.png'}" for name in NAMES),
    ]
    layers = Workdir(folder / "vanilla").load_model().layers
    maps = [each.name for each in layers if len(each.output.shape) == 4]
    found = run(
        "gradcam.py", *arguments, f"--layer={maps[-3]}", tensorflow=True
    )
    assert "images: 0, 1, 2" in found and (folder / "files.svg").exists()
    assert WITHOUT_TENSORFLOW in error_of("gradcam.py", *arguments)


def test_transfer(folder):
    run(
        "transfer.py",
        f"--workdir={folder / 'ffl'}",
        f"--compare={folder / 'vanilla'}",
        "--checkpoint=best",
        "--heads=fused,sub_1",
        "--dataset=npz",
        f"--data_dir={folder / 'moved.npz'}",
        "--splits=2",
        "--fine_tune=2",
        "--epochs=1",
        f"--output={folder / 'transfer.json'}",
    )
    rows = json.loads((folder / "transfer.json").read_text())["rows"]
    assert [row["head"] for row in rows] == ["fused", "sub_1", "vanilla"]
    for row in rows:
        assert len(row["resplit_errors"]) == len(row["fine_tuned"]) == 2
        # The brightness is in every feature map.
        assert row["probe"]["top1_error"] < 50


def test_export(folder):
    """By TensorFlow, whatever the backend of the run."""
    for module in ("ai_edge_litert", "onnxruntime", "tf2onnx"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    found = run(
        "export.py",
        f"--workdir={folder / 'ffl'}",
        f"--data_dir={folder / 'moved.npz'}",
        f"--output={folder / 'models'}",
        "--head=sub_1",
        "--checkpoint=best",
        "--formats=all",
        "--calibration=20",
        "--check",
        "--measure",
        tensorflow=True,
    )
    assert found.count("  yes\n") == 5 and "ms at 128" in found


def test_export_without_tensorflow(folder):
    arguments = [
        f"--workdir={folder / 'vanilla'}",
        f"--data_dir={folder / 'moved.npz'}",
        f"--output={folder / 'stock'}",
    ]
    found = run("export.py", *arguments, "--format=keras", "--check")
    assert "vanilla keras" in found and "  yes\n" in found
    message = error_of("export.py", *arguments, "--format=onnx")
    assert "`format` onnx is written by TensorFlow, got" in message


def test_one_network_teaches_another(folder):
    (folder / "data.npz").symlink_to(folder / "moved.npz")
    found = train(
        folder,
        "student",
        "vanilla",
        "--method=kd",
        f"--teacher={folder / 'vanilla'}",
        "--seed=3",
        "--deterministic",
        "--strategy=one",
    )
    assert "Test split, seed 3, epoch 1" in found and "teacher" in found


def test_photos(folder):
    """TensorFlow reads them."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(4):
            path = folder / "photos" / split / "ab"[number % 2]
            path.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"{number}.png")
    (folder / "photos" / "train" / "a" / "bad.png").write_bytes(b"none")
    arguments = [
        "--preset=quickstart_vanilla",
        "--dataset=imagefolder",
        f"--data_dir={folder / 'photos'}",
        "--set=image_size=16",
        "--set=batch_size=2",
        "--set=epochs=1",
        "--set=lr_milestones=",
        f"--workdir={folder / 'of_photos'}",
    ]
    strict = error_of(
        "train.py", *arguments, "--verify_images=stop", tensorflow=True
    )
    assert "photos can't be decoded: train/a/bad.png" in strict
    arguments[-1] += "_verified"
    run("train.py", *arguments, "--verify_images=skip", tensorflow=True)
    info = Workdir(folder / "of_photos_verified").dataset_info()
    assert [pathlib.Path(name).name for name in info.left_out] == ["bad.png"]
    run("evaluate.py", arguments[-1], tensorflow=True)


# Scripts with recipes of an epoch in place of theirs.
STARTER = f"""
import pathlib, runpy, sys
from keras_ffl import presets
from keras_ffl.studies import tables
from keras_ffl.config import Config

quick = {{"epochs": 1, "batch_size": 480, "lr_milestones": ()}}
for name in ("quickstart", "quickstart_vanilla"):
    long = presets.PRESETS[name]()
    presets.PRESETS[name] = (
        lambda run=long | quick: run
    )
base = Config(method="vanilla", **quick)
tables.TABLES["tiny"] = lambda: tables.Table(
    "tiny",
    "Tiny",
    (
        tables.Entry("row", "error", base, "vanilla",
                           tables.PrintedError(50.0, 1.0, 3)),
    ),
)
script = sys.argv.pop(1)
runpy.run_path({str(SCRIPTS)!r} + "/" + script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def starter(folder):
    path = folder / "starter.py"
    path.write_text(STARTER)
    return path


def test_quickstart(folder, starter):
    arguments = [starter, "quickstart.py", f"--workdir={folder / 'quick'}"]
    found = run(*arguments, "--seed=2")
    assert "the exported sub_1 on a test image of a" in found
    exported = folder / "quick" / "quickstart" / "exported"
    heads = "fused", "sub_1", "sub_2", "ensemble"
    assert {path.name for path in exported.iterdir()} == {
        "labels.txt",
        *(f"{head}.keras" for head in heads),
        *(f"{head}.keras.model_card.json" for head in heads),
    }
    model = keras.models.load_model(exported / "fused.keras")
    assert model.input_shape == (None, 16, 16, 1)
    assert "Epoch" not in run(*arguments, "--seed=2")


def test_reproduce(folder, starter):
    arguments = [
        starter,
        "reproduce.py",
        "--table=tiny",
        f"--workdir={folder / 'cells'}",
    ]
    assert "1 cells" in run(*arguments, "--plan", "--scale", "--epochs=2")
    found = run(*arguments, "--runs=2", "--jobs=2", "--shard=1/1")
    assert "2 of 2 cells finished" in found
    assert "jaxlib" in (folder / "cells" / "table_tiny.md").read_text()
    run(*arguments, "--runs=2", "--report_only")


def test_benchmark_is_of_tensorflow():
    assert "the benchmark needs tensorflow" in error_of("benchmark.py")
    message = error_of("benchmark.py", "--part=speed", tensorflow=True)
    assert "`part` must be one of step" in message
