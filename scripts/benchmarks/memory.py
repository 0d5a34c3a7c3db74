"""The peak memory of training."""

import dataclasses

from benchmarks.common import ratio, take_turns
from benchmarks.training_steps import (
    RESNET32,
    keras_contenders,
    ours_contender,
    pytorch_contenders,
)
from benchmarks.training_tables import about


def run(rounds):
    """The peak memory of FFL with two ResNet-32, above that of imports.

    Args:
        rounds: Int, rounds of three steps. The peak is over all of them.
    """
    pytorch = pytorch_contenders(RESNET32)
    stock = keras_contenders(RESNET32, jit=(False,))
    contenders = [ours_contender("ours", RESNET32), *stock, *pytorch]
    # One after the other: turns aren't needed, and this fits small machines.
    results = {}
    for contender in contenders:
        results.update(
            take_turns([dataclasses.replace(contender, calls=3)], rounds)
        )
    above = {
        name: each["memory"]["peak"] - each["memory"]["imported"]
        for name, each in results.items()
    }
    ratios = {"memory, ours/stock_keras": _of(above, stock)}
    if pytorch:
        ratios["memory, ours/pytorch"] = _of(above, pytorch)
    return {
        "about": about(RESNET32),
        "rows": [
            {
                "contender": name,
                "MiB after imports": round(each["memory"]["imported"]),
                "MiB at the peak": round(each["memory"]["peak"]),
                "MiB of training": round(above[name]),
            }
            for name, each in results.items()
        ],
        "ratios": ratios,
    }


def _of(above, opponents):
    least = min(above[each.name] for each in opponents)
    return ratio([above["ours"]], [least])
