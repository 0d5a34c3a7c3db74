"""The cost of the pipeline of images in memory relative to the step."""

from benchmarks.common import Contender, ratio, take_turns
from benchmarks.training_steps import FFL_PAIRS, RESNET32
from benchmarks.training_tables import rows, seconds_of

STEPS = {"ResNet-8": 41, "ResNet-32": 11}
PIPELINE = "the pipeline alone"


def run(rounds):
    """`fit` at CIFAR's size from arrays, and on a prepared batch.

    The pipeline alone is timed over whole epochs of 50,000 images, including
    the draws at their start.
    """
    contenders = [
        Contender(
            f"{name}: {kind}",
            "benchmarks.contenders:fit",
            {
                **options,
                "method": "ffl",
                "steps": STEPS[name],
                "from_arrays": kind == "arrays",
            },
            calls=1,
            warmup=1,
        )
        for name, options in FFL_PAIRS.items()
        for kind in ("ready", "arrays")
    ]
    pipeline = Contender(
        PIPELINE,
        "benchmarks.contenders_input:arrays",
        {"batch": RESNET32["batch"]},
        calls=1,
        warmup=1,
    )
    results = take_turns([*contenders, pipeline], rounds)
    seconds = seconds_of(results)
    ratios = {}
    for name in FFL_PAIRS:
        ready = seconds[f"{name}: ready"]
        ratios[f"{name}: arrays/ready"] = ratio(
            seconds[f"{name}: arrays"], ready
        )
        ratios[f"{name}: {PIPELINE}/ready"] = ratio(seconds[PIPELINE], ready)
    return {
        "about": {"batch": RESNET32["batch"], "image": 32, "images": 50_000},
        "rows": rows(results, column="seconds a batch"),
        "ratios": ratios,
    }
