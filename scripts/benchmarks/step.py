"""A training step, compared with the code that people would use instead."""

from benchmarks import training_tables as tables
from benchmarks.common import MATMUL, Contender, best_of, ratio, take_turns
from benchmarks.training_steps import (
    RESNET32,
    VANILLA,
    keras_contenders,
    ours_contender,
    pytorch_contenders,
)

FIT = Contender(
    "ours, fit with accuracies",
    "benchmarks.contenders:fit",
    {**RESNET32, "method": "ffl"},
    calls=1,
    warmup=1,
)


def run(rounds):
    """FFL with two ResNet-32, case 1, on a batch of 128 CIFAR-100 images."""
    pytorch = pytorch_contenders(RESNET32)
    stock = keras_contenders(RESNET32)
    ours = ours_contender("ours", RESNET32)
    vanilla = ours_contender("vanilla", VANILLA, "vanilla")
    results = take_turns([ours, FIT, vanilla, *stock, *pytorch, MATMUL], rounds)
    seconds = tables.seconds_of(results)
    gflop = dict.fromkeys(results, results["ours"]["facts"]["gflop"])
    gflop["vanilla"] = results["vanilla"]["facts"]["gflop"]
    gflop["matmul"] = 1.0

    def against(opponents):
        return ratio(seconds["ours"], tables.best_seconds(results, opponents))

    ratios = {
        "ours/stock_keras": against(stock),
        "ours/matmul_rate": tables.rate(results, "ours", gflop["ours"]),
        "ffl/vanilla": ratio(seconds["ours"], seconds["vanilla"]),
        "fit/step": ratio(seconds[FIT.name], seconds["ours"]),
    }
    if pytorch:
        best = best_of(results, [each.name for each in pytorch])
        ratios["ours/pytorch"] = against(pytorch)
        ratios["pytorch/matmul_rate"] = tables.rate(results, best, gflop[best])
    return {
        "about": tables.about(
            RESNET32, **{"GFLOP a step": round(gflop["ours"], 1)}
        ),
        "rows": tables.rows(results, gflop),
        "ratios": ratios,
    }
