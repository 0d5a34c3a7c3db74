"""Python processes that find this package, on either of Keras' backends."""

import os
import pathlib
import subprocess
import sys

_TESTS = pathlib.Path(__file__).parents[1]

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
import importlib.metadata, runpy, sys

lacking = [name for name in sys.argv[1].split(",") if name]
sys.modules.update(dict.fromkeys(lacking))
version = importlib.metadata.version

def version_of_the_others(name):
    if name in lacking:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_of_the_others
sys.argv = sys.argv[2:]
is_file = sys.argv[0].endswith(".py")
run = runpy.run_path if is_file else runpy.run_module
run(sys.argv[0], run_name="__main__")
"""


def environment(**variables):
    """This process' environment, in which `support` can be imported.

    Args:
        **variables: Str, variables to set. Folders in PYTHONPATH come first.

    Returns:
        Dict from str to str.
    """
    folders = [
        variables.pop("PYTHONPATH", None),
        str(_TESTS),
        os.environ.get("PYTHONPATH"),
    ]
    path = os.pathsep.join(filter(None, folders))
    return {**os.environ, "PYTHONPATH": path, **variables}


def run_on_jax(program, *arguments, tensorflow=False, **options):
    """Runs a program on JAX, without TensorFlow unless it is asked for.

    Args:
        program: Path of a script, or name of a module.
        *arguments: The program's arguments.
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
            str(program),
            *map(str, arguments),
        ],
        env=environment(
            # A script finds what lies beside it.
            PYTHONPATH=os.path.dirname(program),
            KERAS_BACKEND="jax",
            JAX_PLATFORMS=os.environ.get("JAX_PLATFORMS", "cpu"),
        ),
        text=True,
        **options,
    )
