"""Python processes with Keras' backend jax."""

import os
import subprocess
import sys

# TensorFlow can't be imported, as where it is not installed.
_WITHOUT_TENSORFLOW = """
import os, runpy, sys
sys.modules["tensorflow"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_on_jax(script, *arguments, **options):
    """Runs a script on JAX, without TensorFlow.

    Args:
        script: Path.
        *arguments: The script's arguments.
        **options: Of `subprocess.run`.

    Returns:
        `subprocess.CompletedProcess`.
    """
    return subprocess.run(
        [
            sys.executable,
            "-c",
            _WITHOUT_TENSORFLOW,
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
