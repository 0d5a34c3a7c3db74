"""The same batches on TensorFlow and on JAX, bit by bit."""

import numpy as np
import pytest
import tensorflow as tf
from support import fed_batches
from support.photo_builders import make_folder
from support.processes import run_on_jax

from keras_ffl import VanillaModel
from keras_ffl.backend.tensorflow.feed import feed, normalized_batch
from keras_ffl.models import build

pytestmark = pytest.mark.jax


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    path = tmp_path_factory.mktemp("feeds") / "jax.npz"
    run_on_jax("support.fed_batches", path, check=True)
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


@pytest.mark.parametrize("name", fed_batches.SCENARIOS)
def test_batches_of_arrays(name, on_jax):
    assert_the_same(fed_batches.SCENARIOS[name](), name, on_jax)


def test_fed_photos_are_not_checked_again(tmp_path):
    """As in a run on JAX, whose batches of photos are a data set."""
    pytest.importorskip("jax")
    from keras_ffl.backend.jax.feed import photo_feed
    from keras_ffl.backend.jax.values import on_device

    root = make_folder(tmp_path / "photos", (4, 3), (2, 2))
    fed = photo_feed(fed_batches.of_photos(root)["training"])
    assert on_device(fed.element_spec)
    model = VanillaModel(build("resnet8", 2, (16, 16, 3)))
    model.is_fed = on_device
    assert model._looked_at(fed, training=True) is fed
    for other in ((), None, [1, 2], fed.element_spec[0].images):
        assert not on_device(other)


@pytest.mark.slow
def test_batches_of_photos(tmp_path):
    root = make_folder(tmp_path / "photos", (4, 3), (2, 2))
    path = tmp_path / "jax.npz"
    # TensorFlow decodes them.
    run_on_jax("support.fed_batches", path, root, tensorflow=True, check=True)
    with np.load(path) as file:
        found = dict(file)
    for name, batches in fed_batches.of_photos(root).items():
        assert_the_same(batches, name, found)
