"""The cost of more branches, other networks and other methods."""

from benchmarks import training_tables as tables
from benchmarks.common import MATMUL, best_of, ratio, spread, take_turns
from benchmarks.training_steps import (
    RESNET32,
    VANILLA,
    keras_contenders,
    ours_contender,
    pair,
    pytorch_contenders,
)

BRANCHES = range(2, 7)
PAIRS = {
    "WRN-16-2": pair(["wrn_16_2"] * 2, separate_stages=1),
    "ResNet-56": pair(["resnet56"] * 2, separate_stages=1),
    "ResNet-32 + WRN-16-2": pair(["resnet32", "wrn_16_2"]),
    "ResNet-18, 224": pair(
        ["imagenet_resnet18"] * 2,
        separate_stages=2,
        classes=1000,
        image_size=224,
        batch=16,
    ),
}
METHODS = ("one", "dml", "dualnet", "ensemble")


def run(rounds, questions=None):
    """Runs `branches`, `methods` and `networks`, or some of them."""
    rows, ratios = [], {}
    for question in questions or (branches, methods, networks):
        more_rows, more_ratios = question(rounds)
        rows += more_rows
        ratios.update(more_ratios)
    return {"about": tables.about(RESNET32), "rows": rows, "ratios": ratios}


def _against_vanilla(results):
    """The GFLOP, the seconds, and these relative to vanilla's."""
    gflop = {n: r["facts"]["gflop"] for n, r in results.items()}
    seconds = tables.seconds_of(results)
    times = {n: ratio(seconds[n], seconds["vanilla"]) for n in results}
    return gflop, seconds, times


def branches(rounds):
    """FFL with two to six ResNet-32, case 1, and the vanilla network."""
    contenders = [
        ours_contender(f"{n} branches", {**RESNET32, "names": ["resnet32"] * n})
        for n in BRANCHES
    ]
    vanilla = ours_contender("vanilla", VANILLA, "vanilla")
    results = take_turns([vanilla, *contenders], rounds)
    gflop, seconds, times = _against_vanilla(results)
    names = [each.name for each in contenders]
    ratios = {f"{n}/vanilla": times[n] for n in names}
    first, last = names[0], names[-1]
    steps = len(names) - 1
    # All further branches together: single differences are mostly noise.
    share = (gflop[last] - gflop[first]) / steps / gflop["vanilla"]
    ratios["further branch/its arithmetic"] = spread(
        [
            (b - a) / steps / alone / share
            for a, b, alone in zip(
                seconds[first], seconds[last], seconds["vanilla"]
            )
        ]
    )
    for before, after in zip(names, names[1:]):
        ratios[f"{after} - {before}, by vanilla"] = spread(
            [
                (b - a) / alone
                for a, b, alone in zip(
                    seconds[before], seconds[after], seconds["vanilla"]
                )
            ]
        )
    return tables.rows(results, gflop), ratios


def methods(rounds):
    """A step of every method on two ResNet-32, relative to its arithmetic."""
    contenders = [
        ours_contender(
            method,
            RESNET32 if method == "one" else {**RESNET32, "separate_stages": 0},
            method,
            function="trained",
        )
        for method in METHODS
    ]
    vanilla = ours_contender("vanilla", VANILLA, "vanilla", function="trained")
    results = take_turns([vanilla, *contenders], rounds)
    gflop, _, times = _against_vanilla(results)
    ratios = {}
    for method in METHODS:
        share = gflop[method] / gflop["vanilla"]
        ratios[f"{method}/vanilla"] = times[method]
        ratios[f"{method}/its arithmetic"] = {
            key: value / share for key, value in times[method].items()
        }
    return tables.rows(results, gflop), ratios


def networks(rounds):
    """FFL with other networks, compared with stock Keras and PyTorch."""
    rows, ratios = [], {}
    for name, options in PAIRS.items():
        more_rows, more_ratios = _network(name, options, rounds)
        rows += more_rows
        ratios.update(more_ratios)
    return rows, ratios


def _network(name, options, rounds):
    stock = keras_contenders(options, jit=(False,))
    pytorch = pytorch_contenders(options, variants=("channels_last",))
    ours = ours_contender("ours", options)
    results = take_turns([ours, *stock, *pytorch, MATMUL], rounds)
    gflop = dict.fromkeys(results, results["ours"]["facts"]["gflop"])
    gflop["matmul"] = 1.0
    rows = [
        {**row, "contender": f"{name}: {row['contender']}"}
        for row in tables.rows(results, gflop)
    ]
    ratios = {}
    for kind, opponents in (("stock_keras", stock), ("pytorch", pytorch)):
        if opponents:
            best = best_of(results, [each.name for each in opponents])
            ratios[f"{name}: ours/{kind}"] = ratio(
                results["ours"]["seconds"], results[best]["seconds"]
            )
    ratios[f"{name}: ours/matmul_rate"] = tables.rate(
        results, "ours", gflop["ours"]
    )
    return rows, ratios
