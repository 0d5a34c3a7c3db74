"""Several seeds in one program on JAX, beside one seed at a time."""

import statistics

from benchmarks.common import Contender, ratio, take_turns
from benchmarks.training_steps import FFL_PAIRS, RESNET32

SEEDS = (2, 4)
ALONE = "one seed"


def run(rounds):
    """Seconds of a step for each seed, FFL of two networks, case 1."""
    rows, ratios, about = [], {}, {}
    for name, options in FFL_PAIRS.items():
        results = take_turns(_contenders(options), rounds)
        about = results[ALONE]["facts"]
        for contender, result in results.items():
            seconds = result["seconds"]
            rows.append(
                {
                    "contender": f"{name}: {contender}",
                    "seconds a step and seed": statistics.median(seconds),
                    "least": min(seconds),
                    "largest": max(seconds),
                }
            )
            if contender != ALONE:
                ratios[f"{name}: {contender}/{ALONE}"] = ratio(
                    seconds, results[ALONE]["seconds"]
                )
    return {
        "about": {**about, "image": RESNET32["image_size"], "dtype": "float32"},
        "rows": rows,
        "ratios": ratios,
    }


def _contenders(options):
    at_once = [
        (f"{seeds} seeds", "seeds_at_once", {**options, "seeds": seeds})
        for seeds in SEEDS
    ]
    return [
        Contender(
            name,
            f"benchmarks.contenders_seeds:{function}",
            given,
            environment={"KERAS_BACKEND": "jax"},
            warmup=2,
        )
        for name, function, given in [(ALONE, "one_seed", options), *at_once]
    ]
