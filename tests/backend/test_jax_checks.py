"""Tests of other packages that run on JAX as well."""

import pathlib

import pytest
from jax_process import run_on_jax

pytestmark = pytest.mark.jax

HERE = pathlib.Path(__file__).parent
TESTS = (
    "data/test_sampling.py",
    "layers/test_map_sizes.py",
    "losses/test_distillation.py::test_classes_that_are_too_few_or_differ",
    "methods/test_any_size.py::test_maps_that_differ",
    "methods/test_bad_input.py::test_one_class",
    "methods/test_cautions.py::test_a_model_made_while_jax_traces",
    "methods/test_cautions.py::test_one_trained_network_twice",
    "methods/test_cautions.py::test_random_layers_inside[own]",
    "methods/test_preprocessing.py::test_all_networks_see_one_image",
    "methods/test_preprocessing.py::test_dml_draws_once_in_a_step",
    "methods/test_bad_input.py::test_a_teacher_of_one_class",
    "models/test_layout.py::test_channels_first",
    "test_data_format.py::test_channels_are_last_under_either_setting[fused]",
    "studies/pictures/test_grad_cam.py::test_batches_of_a_data_set",
    "studies/pictures/test_grad_cam.py::test_last_map_of_a_network_by_hand",
)
SLOW_TESTS = (
    "studies/pictures",
    "studies/report",
    "studies/transfer",
    "test_evaluation.py",
)


@pytest.mark.parametrize(
    "tests", [TESTS, pytest.param(SLOW_TESTS, marks=pytest.mark.slow)]
)
def test_on_jax(tests):
    """One process, since each takes seconds to start."""
    paths = [HERE.parent / path for path in tests]
    result = run_on_jax(
        HERE / "jax_pytest.py",
        *paths,
        "-k=not files and not photos",  # TensorFlow reads them.
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
