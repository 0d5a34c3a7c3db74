"""A training step, beside the code that people would use instead."""

import statistics

from benchmarks.common import MATMUL, best_of, ratio, take_turns
from benchmarks.training_steps import (
    RESNET32,
    keras_contenders,
    ours_contender,
    pytorch_contenders,
)


def run(rounds):
    """Two ResNet-32 by FFL, case 1, on a batch of 128 CIFAR-100 images."""
    vanilla = {**RESNET32, "names": ["resnet32"], "separate_stages": 0}
    pytorch = pytorch_contenders(RESNET32)
    stock = keras_contenders(RESNET32)
    contenders = [
        ours_contender("ours", RESNET32),
        ours_contender("vanilla", vanilla, "vanilla"),
        *stock,
        *pytorch,
        MATMUL,
    ]
    results = take_turns(contenders, rounds)
    seconds = {name: each["seconds"] for name, each in results.items()}
    gflop = results["ours"]["facts"]["gflop"]
    flops = {name: gflop for name in seconds}
    flops["vanilla"] = results["vanilla"]["facts"]["gflop"]
    flops["matmul"] = 1.0

    def against(opponents):
        return seconds[best_of(results, [each.name for each in opponents])]

    def rate(name):
        # Of the machine's, round by round.
        return ratio(
            [flops[name] * each for each in seconds["matmul"]], seconds[name]
        )

    ratios = {
        "ours/stock_keras": ratio(seconds["ours"], against(stock)),
        "ours/matmul_rate": rate("ours"),
        "ffl/vanilla": ratio(seconds["ours"], seconds["vanilla"]),
    }
    if pytorch:
        best = best_of(results, [each.name for each in pytorch])
        ratios["ours/pytorch"] = ratio(seconds["ours"], seconds[best])
        ratios["pytorch/matmul_rate"] = rate(best)
    return {
        "about": {
            "batch": RESNET32["batch"],
            "dtype": "float32",
            "threads": "all",
            "GFLOP a step": round(gflop, 1),
        },
        "rows": [
            {
                "contender": name,
                "seconds": statistics.median(values),
                "least": min(values),
                "largest": max(values),
                "GFLOP/s": flops[name] / statistics.median(values),
            }
            for name, values in seconds.items()
        ],
        "ratios": ratios,
    }
