"""Data that can't be trained on is one `InputError`, whatever way it comes."""

import json
import re
import subprocess
import sys

import pytest
from support import bad_batches
from support.bad_batches import KINDS, QUICK, VALUES, X, Y, tf_data
from support.builders import METHODS, compiled
from support.processes import environment, run_on_jax

from keras_ffl.errors import InputError

tf = pytest.importorskip("tensorflow")
from keras_ffl.backend.tensorflow import steps  # noqa: E402


def assert_input_errors(complaints, cases, ways):
    """Every case is named in the same words, whatever way it came."""
    assert {name.split(": ")[0] for name in complaints} == set(cases)
    assert {name.split(": ")[1] for name in complaints} == ways
    for name, (kind, message) in complaints.items():
        assert kind == "InputError", (name, message)
        _, expected = (KINDS | VALUES)[name.split(": ")[0]]
        assert re.search(expected, message), (name, message)
        assert "\n" not in message


def ways(data_sets):
    arrays = "fit split validation evaluate train_on_batch test_on_batch"
    return {
        *arrays.split(),
        *(
            f"{way} {name}"
            for way in ("fit", "evaluate", "validation")
            for name in data_sets
        ),
    }


ON_TENSORFLOW = ways(("py_dataset", "generator", "tf_data"))
ON_JAX = ways(("py_dataset", "generator"))


def test_all_cases():
    cases = KINDS | VALUES
    found = bad_batches.complaints("vanilla", cases)
    assert_input_errors(found, cases, ON_TENSORFLOW)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method):
    found = bad_batches.complaints(method, QUICK, {"tf_data": tf_data})
    assert_input_errors(found, QUICK, ways(["tf_data"]))


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_batch_changes_nothing(method):
    assert bad_batches.after_a_good_batch(method) == ("InputError", 0.0)


@pytest.mark.jax
@pytest.mark.parametrize(
    ("which", "methods"),
    [
        ("all", ["vanilla"]),
        ("quick", ["dualnet"]),
        pytest.param("quick", list(METHODS), marks=pytest.mark.slow),
    ],
)
def test_on_jax(which, methods):
    done = run_on_jax(
        "support.bad_batches", which, *methods, check=True, stdout=-1
    )
    cases = QUICK if which == "quick" else KINDS | VALUES
    found = json.loads(done.stdout)
    assert set(found) == set(methods)
    for complaints, after in found.values():
        assert_input_errors(complaints, cases, ON_JAX)
        assert after == ["InputError", 0.0]


def test_images_without_labels():
    model = compiled()
    for call in (
        model.fit,
        model.evaluate,
        model.train_on_batch,
        model.test_on_batch,
    ):
        with pytest.raises(
            InputError, match="`y` must be the labels of the images float32"
        ):
            call(X)


def test_other_errors_stay_as_they_are():
    def broken():
        yield X, Y
        yield X, Y
        raise RuntimeError("the disk is gone")

    with pytest.raises(tf.errors.OpError, match="the disk is gone"):
        compiled().fit(broken(), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="expected shape=") as caught:
        compiled().fit(X[:, :3], Y, verbose=0)
    assert not isinstance(caught.value, InputError)


def test_steps_that_xla_compiles_have_no_checks(monkeypatch):
    """XLA would drop them."""
    found = {}
    for jit_compile, accelerator in ((False, False), (True, False), (0, True)):
        monkeypatch.setattr(steps, "has_accelerator", lambda: accelerator)
        model = compiled(jit_compile=bool(jit_compile))
        step = tf.function(model.test_step, autograph=False)
        graph = step.get_concrete_function((X, Y)).graph
        found[jit_compile, accelerator] = sum(
            each.type == "Assert" for each in graph.get_operations()
        )
    assert list(found.values()) == [1, 0, 0]


REPLICAS = """
import sys
from support import bad_batches
from support import builders
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
for method in sys.argv[1:]:
    with strategy.scope():
        model = builders.compiled(builders.METHODS[method]())
    X, Y, bad = bad_batches.X, bad_batches.Y, bad_batches.Y + 1
    for batches, expected in (
        ([{"image": X, "label": Y}], "a batch must be"),
        ([(X, Y), (X, bad)], "`y`: labels must be integers in 0..2"),
        ([(X, Y)], ""),
    ):
        dataset = bad_batches.tf_data(*batches)
        for way, call in bad_batches.of_data_set(
            model, lambda: dataset
        ).items():
            kind, message = bad_batches.complaint(call)
            assert kind == ("InputError" if expected else "none"), message
            assert message.startswith(expected), (way, message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vanilla", "dualnet"])
def test_replicas(method):
    command = [sys.executable, "-c", REPLICAS, method]
    subprocess.run(command, env=environment(), check=True)
