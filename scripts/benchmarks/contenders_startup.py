"""Startup times of new processes, as contenders."""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

from benchmarks.worker import Prepared

_IMPORTS = """
import time
start = time.perf_counter()
import keras
between = time.perf_counter()
import keras_ffl
print(between - start, time.perf_counter() - between)
"""
_FIRST_STEP = re.compile(rb"Epoch 1/\d+\s.*?\b1/\d+", re.DOTALL)


def _imports():
    printed = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [float(value) for value in printed.split()]


def import_keras():
    """Seconds of importing Keras with its backend."""
    return Prepared(lambda: _imports()[0])


def import_keras_ffl():
    """Seconds that importing keras_ffl takes after Keras."""
    return Prepared(lambda: _imports()[1])


def first_step():
    """Seconds from the quickstart's start to its first training step."""
    return Prepared(_first_step)


def _first_step():
    script = pathlib.Path(__file__).parents[1] / "quickstart.py"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-u",
                str(script),
                "--verbose",
                f"--workdir={folder}",
            ],
            stdout=subprocess.PIPE,
        )
        printed = b""
        try:
            while not _FIRST_STEP.search(printed):
                read = process.stdout.read1(4096)
                if not read:
                    raise RuntimeError(printed.decode())
                printed += read
            return time.perf_counter() - start
        finally:
            process.kill()
            process.communicate()
