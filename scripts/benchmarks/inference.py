"""Prediction with exported models."""

import statistics

from benchmarks.common import Contender, ratio, spread, take_turns
from benchmarks.training_steps import RESNET32

MODELS = ("vanilla", "sub_1", "fused", "ensemble", "vanilla, not folded")
BATCHES = {1: 30, 128: 3}
"""Batch sizes, and the number of calls per turn."""


def run(rounds):
    """Compares heads of FFL with a single ResNet-32 and an ensemble of two.

    All are SavedModels that include preprocessing; batch norm is folded in all
    but one.
    """
    rows, ratios, operations = [], {}, {}
    for batch, calls in BATCHES.items():
        results = take_turns(
            [
                Contender(
                    model,
                    "benchmarks.contenders_inference:exported",
                    {**RESNET32, "model": model, "batch": batch},
                    calls=calls,
                    warmup=10,
                )
                for model in MODELS
            ],
            rounds,
        )
        seconds = {name: each["seconds"] for name, each in results.items()}
        operations = {n: r["facts"]["operations"] for n, r in results.items()}
        for name, values in seconds.items():
            rows.append(
                {
                    "contender": name,
                    "batch": batch,
                    "milliseconds": 1e3 * statistics.median(values),
                    "operations": sum(operations[name].values()),
                }
            )
        for first, second in (
            ("sub_1", "vanilla"),
            ("fused", "ensemble"),
            ("vanilla", "vanilla, not folded"),
        ):
            ratios[f"{first}/{second}, batch {batch}"] = ratio(
                seconds[first], seconds[second]
            )
    same = operations["sub_1"] == operations["vanilla"]
    ratios["sub_1 has the operations of vanilla"] = spread([float(same)])
    return {
        "about": {"network": "resnet32", "dtype": "float32", "threads": "all"},
        "rows": rows,
        "ratios": ratios,
    }
