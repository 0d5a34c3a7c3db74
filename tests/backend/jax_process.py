"""Python processes with Keras' backend jax."""

import os
import subprocess
import sys

# What the environment of docs/gpu.md lacks.
_LACKING = (
    "tensorflow",
    "tensorflow_datasets",
    "tensorboard",
    "keras_cv",
    "importlib_resources",
    "psutil",
)
# The packages in the first argument are as if they were not installed.
_START = """
import importlib.metadata, os, runpy, sys

lacking = [name for name in sys.argv[1].split(",") if name]
sys.modules.update(dict.fromkeys(lacking))
version = importlib.metadata.version

def version_of_the_others(name):
    if name in lacking:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_of_the_others
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_on_jax(script, *arguments, tensorflow=False, **options):
    """Runs a script on JAX, without TensorFlow unless it is asked for.

    Args:
        script: Path.
        *arguments: The script's arguments.
        tensorflow: Whether TensorFlow can be imported.
        **options: Of `subprocess.run`.

    Returns:
        `subprocess.CompletedProcess`.
    """
    return subprocess.run(
        [
            sys.executable,
            "-c",
            _START,
            "" if tensorflow else ",".join(_LACKING),
            str(script),
            *map(str, arguments),
        ],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
        },
        text=True,
        **options,
    )
