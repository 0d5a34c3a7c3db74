"""Tests of other packages that run on JAX as well."""

import pathlib

import pytest
from support.processes import run_on_jax

pytestmark = pytest.mark.jax

ROOT = pathlib.Path(__file__).parents[1]
# What TensorFlow reads.
BY_TENSORFLOW = "not files and not photos"
TESTS = (
    "data/test_sampling.py",
    "layers/test_map_sizes.py",
    "losses/test_distillation.py::test_classes_that_are_too_few_or_differ",
    "methods/test_after_errors.py",
    "methods/test_any_size.py::test_maps_that_differ",
    "methods/test_bad_input.py::test_one_class",
    "methods/test_cautions.py::test_a_model_made_while_jax_traces",
    "methods/test_cautions.py::test_one_trained_network_twice",
    "methods/test_cautions.py::test_random_layers_inside[own]",
    "methods/test_continued_training.py",
    *(
        f"methods/test_labels_and_steps.py::{test}"
        for test in (
            "test_a_weight_in_the_loss_is_trained",
            "test_an_option_that_changes_while_it_trains",
            "test_class_weight_of_batches",
            "test_evaluation_of_batches_of_several_steps_per_call",
            "test_labels_of_another_size",
            "test_terms_of_integer_labels",
        )
    ),
    "methods/test_preprocessing.py::test_all_networks_see_one_image",
    "methods/test_preprocessing.py::test_dml_draws_once_in_a_step",
    "methods/test_bad_input.py::test_a_teacher_of_one_class",
    "models/test_layout.py::test_channels_first",
    "test_data_format.py::test_channels_are_last_under_either_setting[fused]",
    "studies/pictures/test_grad_cam.py::test_batches_of_a_data_set",
    "studies/pictures/test_grad_cam.py::test_last_map_of_a_network_by_hand",
)
# A step on JAX takes the arrays of what it trains, a copied network's too.
TESTS_OF_COPIES = (
    "models/test_copying.py",
    "models/test_to_logits.py::test_several_softmaxes_become_a_logarithm",
    "methods/test_adapters.py::test_a_file_keeps_adapters[kd]",
)
# With float64.
TESTS_OF_LAYERS = (
    "layers/test_feature_average.py",
    "layers/test_fusion_of_ranks.py",
    "layers/test_gate.py",
    "layers/test_rank_errors.py",
)
SLOW_TESTS = (
    "methods/test_labels_and_steps.py",
    "studies/pictures",
    "studies/report",
    "studies/transfer",
    "test_evaluation.py",
)


@pytest.mark.parametrize(
    ("tests", "left_out"),
    [
        (TESTS, BY_TENSORFLOW),
        # A large network takes long, operation by operation.
        pytest.param(
            TESTS_OF_COPIES, "not application", marks=pytest.mark.slow
        ),
        # Their sums are in the steps of tests/backend/test_jax_steps.py.
        pytest.param(TESTS_OF_LAYERS, BY_TENSORFLOW, marks=pytest.mark.slow),
        pytest.param(SLOW_TESTS, BY_TENSORFLOW, marks=pytest.mark.slow),
    ],
)
def test_on_jax(tests, left_out, monkeypatch):
    """One process, since each takes seconds to start."""
    monkeypatch.setenv("JAX_ENABLE_X64", str(int(tests is TESTS_OF_LAYERS)))
    result = run_on_jax(
        "pytest",
        "-q",
        "-pno:cacheprovider",
        f"-k={left_out}",
        *(ROOT / path for path in tests),
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
