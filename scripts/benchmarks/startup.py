"""Startup times."""

import statistics

from benchmarks.common import Contender, ratio, spread, take_turns

CONTENDERS = [
    Contender(
        name, f"benchmarks.contenders_startup:{function}", calls=1, warmup=1
    )
    for name, function in (
        ("import keras", "import_keras"),
        ("import keras_ffl, after keras", "import_keras_ffl"),
        ("first step of the quickstart", "first_step"),
    )
]


def run(rounds):
    """Imports, and the quickstart's first training step, in new processes."""
    results = take_turns(CONTENDERS, min(rounds, 5))
    seconds = {name: each["seconds"] for name, each in results.items()}
    keras, ours, first = seconds.values()
    return {
        "about": {"runs": len(keras)},
        "rows": [
            {"contender": name, "seconds": statistics.median(values)}
            for name, values in seconds.items()
        ],
        "ratios": {
            "import keras_ffl/import keras": ratio(ours, keras),
            "seconds of import keras_ffl": spread(ours),
            "seconds to the quickstart's first step": spread(first),
        },
    }
