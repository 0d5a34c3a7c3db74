"""The same batches on TensorFlow and on JAX, bit by bit."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.backend.tensorflow.feed import feed, normalized_batch

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "data" / "photos")]
import feeds  # noqa: E402
from jax_process import run_on_jax  # noqa: E402
from photo_builders import make_folder  # noqa: E402

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    path = tmp_path_factory.mktemp("feeds") / "jax.npz"
    run_on_jax(HERE / "feeds.py", path, check=True)
    with np.load(path) as file:
        return dict(file)


def assert_the_same(batches, name, on_jax):
    """Fed and iterated, on both backends."""
    fed = feed(batches, tf.distribute.get_strategy())
    pairs = zip(map(normalized_batch, fed), batches, strict=True)
    count = 0
    for k, (ours, iterated) in enumerate(pairs):
        for i, what in enumerate(("images", "labels")):
            expected = ours[i].numpy()
            for values in (
                iterated[i],
                on_jax[f"{name}/fed/{k}/{what}"],
                on_jax[f"{name}/iterated/{k}/{what}"],
            ):
                assert values.dtype == expected.dtype
                np.testing.assert_array_equal(values, expected)
                count += 1
    assert count == 3 * sum(key.startswith(f"{name}/fed") for key in on_jax)


@pytest.mark.parametrize("name", feeds.SCENARIOS)
def test_batches_of_arrays(name, on_jax):
    assert_the_same(feeds.SCENARIOS[name](), name, on_jax)


@pytest.mark.slow
def test_batches_of_photos(tmp_path):
    root = make_folder(tmp_path / "photos", (4, 3), (2, 2))
    path = tmp_path / "jax.npz"
    subprocess.run(
        [sys.executable, HERE / "feeds.py", path, root],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    with np.load(path) as file:
        found = dict(file)
    for name, batches in feeds.of_photos(root).items():
        assert_the_same(batches, name, found)
