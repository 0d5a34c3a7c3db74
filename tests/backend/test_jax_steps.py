"""Training on JAX against training on TensorFlow, from the same weights.

JAX runs in processes of its own: Keras has one backend in a process.
"""

import keras
import numpy as np
import pytest
from support import builders, combinations, method_steps, ranks
from support.processes import run_on_jax

pytestmark = pytest.mark.jax

# Those of the other methods take a minute.
QUICK = ("ffl", "dml", "dualnet", "ffl_segmentation_maps")
METHODS = [
    method if method in QUICK else pytest.param(method, marks=pytest.mark.slow)
    for method in (*builders.METHODS, *ranks.METHODS, *combinations.METHODS)
]


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """What both backends got, by method: TensorFlow's, and a folder."""
    folder = tmp_path_factory.mktemp("backends")
    wanted = {
        item.callspec.params["method"]
        for item in request.session.items
        if item.path == request.path
    }
    ours = {}
    for method in wanted:
        # In any order the same weights, since few are ill-conditioned.
        keras.utils.set_random_seed(0)
        model = method_steps.model_of(method)
        # Moved weights make large outputs, which squares of differences make
        # ill-conditioned.
        if method not in combinations.METHODS:
            model = builders.moved(model)
        np.savez(
            folder / f"{method}.npz", **method_steps.initial_weights(model)
        )
        ours[method] = method_steps.take_steps(model)
        model.save(folder / f"{method}.keras")
    run_on_jax("support.method_steps", folder, *wanted, check=True)
    return ours, folder


def assert_equal(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        np.testing.assert_allclose(
            theirs[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_those_of_tensorflow(method, results):
    ours, folder = results
    with np.load(folder / f"{method}_jax.npz") as theirs:
        assert_equal(ours[method], dict(theirs))


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_goes_over(method, results):
    ours, folder = results
    expected = {
        name: value
        for name, value in ours[method].items()
        if name.startswith(("evaluation", "logits"))
    }
    loaded = keras.models.load_model(folder / f"{method}_jax.keras")
    assert_equal(expected, method_steps.evaluated(loaded))
    with np.load(folder / f"{method}_loaded_jax.npz") as theirs:
        assert_equal(expected, dict(theirs))
