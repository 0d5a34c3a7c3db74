"""The tests of copies and of their files, to be run on either backend.

KERAS_BACKEND=jax python tests/backend/copies.py
"""

import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).parents[1]
SELECTED = (
    "models/test_copying.py",
    "models/test_to_logits.py::test_several_softmaxes_become_a_logarithm",
    "methods/test_adapters.py::test_a_file_keeps_adapters[kd]",
)
# A large network takes long, operation by operation.
LEFT_OUT = "application"

if __name__ == "__main__":
    tests = [str(TESTS / test) for test in SELECTED]
    options = ["-q", "-p", "no:cacheprovider", "-k", f"not {LEFT_OUT}"]
    sys.exit(pytest.main([*options, *tests]))
