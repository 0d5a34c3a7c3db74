"""What all tests share: a known state before each, and the shared data."""

import dataclasses
import gc
import importlib.util
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# As the commands do.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# The expected values hold for float32 on a CPU; set the variable yourself to
# test on a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import pytest  # noqa: E402

# Whoever deletes an iterator of tf.data waits for the thread that tunes it. On
# busy cores every tenth of these threads misses that it is to end and sleeps
# on, about as long as it has lived. So iterators must not wait for a
# collection of garbage that comes many tests later.
gc.disable()


def pytest_runtest_setup(item):
    for package in ("torch", "jax"):
        if item.get_closest_marker(package):
            _skip_without(package)


def _skip_without(package):
    # Not imported: each takes seconds, and only other processes use JAX.
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(autouse=True)
def known_state():
    """Names of layers, seeds, dtype policy and kernels as in a new process."""
    # What the test before left: all garbage would take longer than most tests.
    gc.collect(1)
    # Keras collects all garbage whenever a layer is quantised.
    gc.freeze()
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")
    if keras.backend.backend() == "tensorflow":
        # Has no public name. Left on by a test, it keeps XLA out of the next.
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def shared_data():
    """Folder of data sets and photos that are too large for the repository.

    It is named by the environment variable KERAS_FFL_DATA and is, without
    it, `shared/data` beside the repository.
    """
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("KERAS_FFL_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; set KERAS_FFL_DATA to its folder")
    return folder


@pytest.fixture
def few_digits(monkeypatch):
    """The digits, but a few hundred of them."""
    from keras_ffl import data

    digits = data.load("digits")
    few = dataclasses.replace(
        digits,
        x_train=digits.x_train[:300],
        y_train=digits.y_train[:300],
        x_test=digits.x_test[:100],
        y_test=digits.y_test[:100],
    )
    monkeypatch.setattr(data, "load", lambda *arguments: few)
    return few


@pytest.fixture
def float64():
    """Models in double precision."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
