"""The cost of saving a run in the middle of an epoch."""

from benchmarks.common import Contender, ratio, take_turns
from benchmarks.training_steps import RESNET32
from benchmarks.training_tables import rows, seconds_of

# Within these steps it is saved several times.
STEPS = 41
# In minutes, far more often than anybody needs.
EVERY = 0.05


def run(rounds):
    """`fit` of two ResNet-32, with and without `save_every_minutes`."""
    options = {**RESNET32, "method": "ffl", "steps": STEPS}
    names = {"not saved": 0, "watched": 1e6, f"every {EVERY * 60:g} s": EVERY}
    results = take_turns(
        [
            Contender(
                name,
                "benchmarks.contenders:fit",
                {**options, "save_every": every},
                calls=1,
                warmup=1,
            )
            for name, every in names.items()
        ],
        rounds,
    )
    seconds = seconds_of(results)
    plain, *others = seconds
    return {
        "about": {"batch": RESNET32["batch"], "image": 32, "steps": STEPS},
        "rows": rows(results, column="seconds a step"),
        "ratios": {
            f"{name}/{plain}": ratio(seconds[name], seconds[plain])
            for name in others
        },
    }
