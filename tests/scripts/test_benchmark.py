"""The benchmark: its arithmetic, its contenders, and its errors."""

import importlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl.errors import FFLError
from keras_ffl.models import count_parameters

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"

PAIRS = {
    "resnet32": (["resnet32"] * 2, 1, 849_148),
    "wrn_16_2": (["wrn_16_2"] * 2, 1, 1_290_364),
    "mixed": (["resnet32", "wrn_16_2"], 0, 1_197_068),
}


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a module of the benchmark by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_contenders_take_turns_and_are_measured(benchmarks, tmp_path):
    common = benchmarks("common")
    log = tmp_path / "log"
    (tmp_path / "contenders.py").write_text(
        "from benchmarks.worker import Prepared\n"
        "def note(name, seconds):\n"
        "    steps = []\n"
        "    def step():\n"
        "        steps.append(name)\n"
        f"        open({str(log)!r}, 'a').write(name)\n"
        "        print('this must not get between the answers')\n"
        "        return seconds\n"
        "    return Prepared(step, count=2, facts={'steps': steps})\n"
    )
    contenders = [
        common.Contender(
            name,
            "contenders:note",
            {"name": name, "seconds": seconds},
            environment={"PYTHONPATH": f"{SCRIPTS}:{tmp_path}"},
            calls=2,
            warmup=1,
        )
        for name, seconds in (("a", 1.0), ("b", 4.0))
    ]
    results = common.take_turns(contenders, rounds=3)
    assert sorted(log.read_text()[:2]) == ["a", "b"]
    assert log.read_text()[2:] == "aabb" * 3
    assert results["a"]["seconds"] == [0.5] * 3
    assert results["b"]["seconds"] == [2.0] * 3
    # One to warm up, two in each round.
    assert results["b"]["facts"] == {"steps": ["b"] * 7}
    assert results["b"]["memory"]["peak"] >= results["b"]["memory"]["now"] > 1


def test_contender_that_fails_ends_the_benchmark(benchmarks):
    common = benchmarks("common")
    broken = common.Contender("broken", "benchmarks.worker:no_such_function")
    with pytest.raises(FFLError, match="contender broken failed"):
        common.take_turns([broken], rounds=1)


def test_ratios_are_of_the_same_round(benchmarks):
    common = benchmarks("common")
    result = common.ratio([1.0, 2.0, 9.0], [2.0, 1.0, 3.0])
    assert result == {"median": 2.0, "low": 0.5, "high": 3.0}


@pytest.mark.parametrize("kind", PAIRS)
def test_opponent_of_stock_layers_has_our_parameters(benchmarks, kind):
    names, separate_stages, parameters = PAIRS[kind]
    stock = benchmarks("networks_keras").build(names, separate_stages, 100, 32)
    assert count_parameters(stock) == parameters


@pytest.mark.torch
@pytest.mark.parametrize("kind", PAIRS)
def test_pytorch_opponent_has_our_parameters(benchmarks, kind):
    names, separate_stages, parameters = PAIRS[kind]
    torch_networks = benchmarks("networks_torch")
    model = torch_networks.FeatureFusion(names, separate_stages, 100)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.torch
def test_pytorch_opponent_has_our_loss(benchmarks):
    import torch

    from keras_ffl.losses import cross_entropy, distillation_kl

    rng = np.random.default_rng(0)
    fused, first, second = rng.normal(size=(3, 4, 5)).astype("float32")
    labels = np.array([0, 2, 4, 1])
    supervised = sum(cross_entropy(labels, z) for z in (fused, first, second))
    distilled = 9 * (
        distillation_kl((first + second) / 2, fused)
        + distillation_kl(fused, first)
        + distillation_kl(fused, second)
    )
    expected = np.mean(supervised + 0.3 * distilled)
    actual = benchmarks("networks_torch").loss_of(
        torch.from_numpy(fused),
        [torch.from_numpy(first), torch.from_numpy(second)],
        torch.from_numpy(labels),
        0.3,
    )
    np.testing.assert_allclose(actual.item(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "part",
    [
        "step",
        "input_arrays",
        "scaling",
        "inference",
        "memory",
        "startup",
    ],
)
def test_parts_have_tables_and_ratios(benchmarks, monkeypatch, part):
    # Contender k takes k + 1 seconds and as many GFLOP and MiB.
    def pretend(contenders, rounds):
        assert len({each.name for each in contenders}) == len(contenders)
        return {
            each.name: {
                "seconds": [k + 1.0] * rounds,
                "facts": {"gflop": k + 1.0, "operations": {"Conv2D": 9}},
                "memory": {"imported": 10.0, "now": 11.0, "peak": 11.0 + k},
            }
            for k, each in enumerate(contenders)
        }

    module = benchmarks(part)
    monkeypatch.setattr(module, "take_turns", pretend)
    result = module.run(2)
    assert result["rows"] and result["ratios"]
    printout = benchmarks("printout")
    text = printout.format_part(part, result, printout.describe_machine())
    assert all(f"| {name} |" in text for name in result["ratios"])
    if part == "step":
        assert result["ratios"]["ffl/vanilla"]["median"] == 1 / 3
        assert result["ratios"]["ours/stock_keras"]["median"] == 1 / 4
    if part == "input_arrays":
        assert result["ratios"]["ResNet-8: arrays/ready"]["median"] == 2
    if part == "scaling":
        # Each branch more takes one of vanilla's seconds, and its GFLOP.
        further = result["ratios"]["further branch/its arithmetic"]
        assert further["median"] == 1
        assert result["ratios"]["dml/its arithmetic"]["median"] == 1


def test_products_of_a_graph_are_those_that_run(benchmarks):
    kernel = tf.Variable(tf.zeros((3, 3, 2, 5)))
    matrix = tf.Variable(tf.zeros((5, 7)))

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            maps = tf.nn.conv2d(images, kernel, strides=2, padding="SAME")
            logits = tf.reduce_mean(maps, (1, 2)) @ matrix
        variables = [images, kernel, matrix]
        _, *gradients = tape.gradient(logits, variables)
        for variable, gradient in zip(variables[1:], gradients):
            variable.assign_sub(gradient)

    graph = step.get_concrete_function(tf.TensorSpec((4, 8, 8, 2))).graph
    convolution = 4 * 4 * 4 * 5 * 3 * 3 * 2  # Of 4 images; 4 × 4 positions.
    dense = 4 * 5 * 7
    # The images' gradient is in the graph, but nothing needs it; nor do
    # gradients need the logits.
    assert benchmarks("products").count_products(graph) == (
        2 * convolution + 2 * dense
    )


def _small(benchmarks, **changes):
    pair = benchmarks("training_steps").pair
    options = pair(["resnet8"] * 2, 1, classes=4, image_size=8, batch=4)
    return {**options, **changes}


@pytest.mark.slow
def test_exported_sub_network_has_the_operations_of_vanilla(benchmarks):
    exported = benchmarks("contenders_inference").exported
    options = _small(benchmarks)
    found = []
    for model in ("sub_1", "vanilla", "vanilla, not folded"):
        prepared = exported(model, **options)
        prepared.step()
        found.append(prepared.facts["operations"])
    sub_network, vanilla, plain = found
    assert sub_network == vanilla
    assert "FusedBatchNormV3" not in vanilla and vanilla["Conv2D"] == 9
    assert plain["FusedBatchNormV3"] == plain["Conv2D"] == 9


@pytest.mark.slow
def test_arithmetic_of_methods_is_the_documented_one(benchmarks, monkeypatch):
    arithmetic = benchmarks("arithmetic")
    monkeypatch.setattr(arithmetic, "NETWORKS", ["resnet8"])
    ratios = arithmetic.run(1)["ratios"]
    assert len(ratios) == len(arithmetic.METHODS)
    # Forward passes F and backward passes 2F of whole networks; less than 2F,
    # because the images have no gradient.
    for method, passes in {
        "2-net": 6,
        "FFL, nothing shared": 6,
        "FFL, views": 6,
        "DualNet, iterative": 4,
        "DualNet, joint": 2,
        "DualNet, joint_extractors": 6,
        "DML": 7,
        "DML, simultaneous": 6,
        "FFSD": 9,
        "PCL": 8,
        "PCL, 3 branches": 12,
    }.items():
        found = ratios[f"{method}, resnet8/alone"]["median"]
        assert found == pytest.approx(passes / 3, rel=0.025), method


@pytest.mark.slow
@pytest.mark.parametrize(
    "function, method",
    [("ours", "ffl"), ("fit", "ffl"), ("trained", "dualnet")]
    + [("trained", method) for method in ("dml", "one", "ensemble")],
)
def test_contenders_train(benchmarks, function, method):
    shared = method in ("ffl", "one")
    options = _small(benchmarks, separate_stages=1 if shared else 0)
    prepared = getattr(benchmarks("contenders"), function)(method, **options)
    prepared.step()
    assert prepared.facts["gflop"] > 0


@pytest.mark.slow
def test_fit_takes_batches_of_arrays(benchmarks):
    options = _small(benchmarks, image_size=32, batch=16)
    fit = benchmarks("contenders").fit
    assert fit("ffl", steps=3, from_arrays=True, **options).step() > 0


def test_unknown_part_is_an_error_of_one_line():
    result = subprocess.run(
        [sys.executable, SCRIPTS / "benchmark.py", "--part=speed"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith("error: `part` must be one of step")
    assert "Traceback" not in result.stderr
