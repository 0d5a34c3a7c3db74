"""Keras' backends that the package does not train on."""

import os
import pathlib
import subprocess
import sys

import pytest

from keras_ffl_launcher import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS = [f"{name}.py" for name in (*COMMANDS, "benchmark")]
MESSAGE = "`KERAS_BACKEND` must be tensorflow or jax for keras_ffl, got {}\n"


def python(*arguments, **variables):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **variables},
        text=True,
        capture_output=True,
    )


@pytest.mark.parametrize("backend", ["torch", "openvino", "numpy"])
@pytest.mark.parametrize("module", ["keras_ffl", "keras_ffl.losses"])
def test_other_backends_are_refused(module, backend):
    done = python("-c", f"import {module}", KERAS_BACKEND=backend)
    assert done.returncode == 1
    message = MESSAGE.format(backend)
    assert done.stderr.endswith(f"keras_ffl.errors.InputError: {message}")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_say_it_in_one_line(script):
    done = python(ROOT / "scripts" / script, KERAS_BACKEND="torch")
    assert done.returncode == 1
    # TensorFlow, where a script imports it first, logs lines of its own.
    assert done.stderr.endswith("error: " + MESSAGE.format("torch"))
    assert "Traceback" not in done.stderr


def test_a_backend_of_keras_own_file(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    done = python(
        "-c", "import keras_ffl", KERAS_BACKEND="", KERAS_HOME=str(tmp_path)
    )
    assert done.stderr.endswith(MESSAGE.format("numpy"))


def test_what_keras_runs_on_counts():
    program = (
        "import os, keras; os.environ['KERAS_BACKEND'] = 'torch'; "
        "import keras_ffl"
    )
    done = python("-c", program, KERAS_BACKEND="tensorflow")
    assert done.returncode == 0, done.stderr
