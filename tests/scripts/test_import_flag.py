"""A method and a network of another package, in every script."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from support.processes import run_on_jax

from keras_ffl import InputError
from keras_ffl.optional import import_modules
from keras_ffl.workdir import Workdir

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"

THEIRS = """
import keras

from keras_ffl import as_subnetwork
from keras_ffl.config import Config
from keras_ffl.methods import METHODS, VanillaModel
from keras_ffl.methods.rows import Method, Options
from keras_ffl.models import NETWORKS
from keras_ffl.studies.tables import TABLES, Entry, Table


@keras.saving.register_keras_serializable(package="theirs")
class TheirModel(VanillaModel):
    pass


METHODS["theirs"] = Method(
    TheirModel,
    "theirs",
    Options,
    lambda subnetworks, config: TheirModel(*subnetworks),
)


def their_network(num_classes, input_shape):
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(5, 3)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(num_classes)(x)
    return as_subnetwork(keras.Model(image, x), name="their_network")


NETWORKS["their_network"] = their_network
CONFIG = Config(method="theirs", epochs=1, batch_size=480, lr_milestones=())
TABLES["theirs"] = lambda: Table(
    "theirs", "Theirs", (Entry("row", "error", CONFIG, "vanilla"),)
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the module and data, from which scripts are started."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "their_method.py").write_text(THEIRS)
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), "uint8")
    y = np.arange(24) % 3
    np.savez(folder / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return folder


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


TRAIN = [
    "--import=their_method",
    "--method=theirs",
    "--preset=quickstart_vanilla",
    "--dataset=npz",
    "--data_dir=d.npz",
    "--set=networks=their_network",
    "--set=epochs=1",
    "--set=lr_milestones=1",
    "--set=pad=1",
]


@pytest.fixture(scope="module")
def trained(folder):
    done = run("train.py", *TRAIN, "--workdir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    workdir = Workdir(folder / "run")
    assert workdir.read_metrics()["parameters"] == 5 * 10 + 3 * 6
    return workdir


COMMANDS = {
    "evaluate.py": [],
    "export.py": ["--output=models"],
    "gradcam.py": ["--output=cam.png"],
    "report.py": [],
    "transfer.py": ["--dataset=npz", "--data_dir=d.npz", "--splits=0"],
    "train.py": [*TRAIN[1:], "--set=epochs=2"],
}


# Each is a process: one of them is enough every day.
SCRIPTS_TO_TRY = [
    script
    if script == "evaluate.py"
    else pytest.param(script, marks=pytest.mark.slow)
    for script in COMMANDS
]


@pytest.mark.parametrize("script", SCRIPTS_TO_TRY)
def test_without_it_the_method_is_named(script, trained, folder):
    arguments = [*COMMANDS[script], "--workdir=run"]
    done = run(script, *arguments, cwd=folder)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "got 'theirs' (one of another package is imported" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", SCRIPTS_TO_TRY)
def test_with_it_every_script_runs(script, trained, folder):
    arguments = [*COMMANDS[script], "--workdir=run", "--import=their_method"]
    done = run(script, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_processes_of_a_table(folder):
    done = run(
        "reproduce.py",
        "--table=theirs",
        "--workdir=cells",
        "--import=their_method",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 of 1 cells finished" in done.stdout


@pytest.mark.jax
@pytest.mark.slow
def test_on_jax(folder):
    options = {"cwd": folder, "capture_output": True}
    done = run_on_jax(SCRIPTS / "train.py", *TRAIN, "--workdir=j", **options)
    assert done.returncode == 0, done.stderr
    arguments = [SCRIPTS / "evaluate.py", "--workdir=j"]
    done = run_on_jax(*arguments, **options)
    assert done.returncode == 1
    assert "got 'theirs' (one of another package is imported" in done.stderr
    done = run_on_jax(*arguments, "--import=their_method", **options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module", "No module named 'no_such_module'"),
        ("", "as in `import a.b`"),
        ("../there.py", "as in `import a.b`"),
    ],
)
def test_modules_that_can_not_be_imported(name, message, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InputError, match=f"module {name!r} can't.*{message}"):
        import_modules([name])
    assert os.getcwd() in sys.path
