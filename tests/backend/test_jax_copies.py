"""Copies of networks on JAX, whose step takes the arrays of what it trains."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
from jax_process import run_on_jax  # noqa: E402

pytestmark = pytest.mark.jax


def test_copies():
    done = run_on_jax(HERE / "copies.py", capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:]
