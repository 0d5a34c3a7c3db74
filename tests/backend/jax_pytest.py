"""Runs pytest with this program's arguments, in a process of `run_on_jax`."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", *sys.argv[1:]]))
