"""Several devices and several steps in one call, on JAX."""

import json

import numpy as np
import pytest
from support.processes import run_on_jax

pytestmark = [pytest.mark.jax, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Function from a way of `devices.WAYS` to what came out."""
    folder = tmp_path_factory.mktemp("devices")
    run_on_jax("support.several_devices", folder, check=True)

    def read(way):
        with np.load(folder / f"{way}.npz") as file:
            return dict(file)

    return read


@pytest.mark.parametrize(
    ("way", "reference"),
    [
        ("two", "one"),
        ("eight", "one"),
        ("several_steps", "one"),
        ("eight_several_steps", "one"),
        ("turns_several_steps", "turns"),
    ],
)
def test_every_way_gives_the_same_weights(way, reference, trained):
    expected, found = trained(reference), trained(way)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_mixed_bfloat16(trained):
    full, half = trained("one"), trained("bfloat16")
    name = "evaluation: loss"
    assert half[name] != full[name]
    np.testing.assert_allclose(half[name], full[name], rtol=0.05)
    for name, value in half.items():
        assert np.isfinite(value).all(), name
        # Variables and logits stay in full precision.
        assert value.dtype == full[name].dtype


def test_devices_drift_apart_by_rounding_only():
    done = run_on_jax("support.device_drift", capture_output=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line[:1] == "{"]
    single, double = map(json.loads, lines)
    assert (single["dtype"], double["dtype"]) == ("float32", "float64")
    # 23 steps at rate 0.1 make rounding visible in float32 only.
    assert single["weights"] > 1e-4
    assert double["weights"] < 1e-11
    assert double["losses"][0] == double["losses"][1]
