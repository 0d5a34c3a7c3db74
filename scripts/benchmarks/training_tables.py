"""Tables and ratios of training steps, shared by several parts."""

import statistics

from benchmarks.common import best_of, ratio


def seconds_of(results):
    """The seconds of every round by contender, a dict of lists."""
    return {name: each["seconds"] for name, each in results.items()}


def best_seconds(results, contenders):
    """The seconds of the contender with the smallest median."""
    return results[best_of(results, [each.name for each in contenders])][
        "seconds"
    ]


def rate(results, name, gflop):
    """A contender's GFLOP/s relative to the machine's rate, per round."""
    machine = [gflop * each for each in results["matmul"]["seconds"]]
    return ratio(machine, results[name]["seconds"])


def rows(results, gflop=None, column="seconds"):
    """The table of some contenders.

    Args:
        results: Dict of `benchmarks.common.take_turns`.
        gflop: Dict from name to the GFLOP of a step, where known; None for
            a table without rates.
        column: Heading of the median.

    Returns:
        List of dicts.
    """
    table = []
    for name, values in seconds_of(results).items():
        median = statistics.median(values)
        row = {
            "contender": name,
            column: median,
            "least": min(values),
            "largest": max(values),
        }
        if gflop is not None:
            row["GFLOP/s"] = gflop[name] / median if name in gflop else ""
        table.append(row)
    return table


def about(options, **more):
    """The settings that all rows share, a dict."""
    return {
        "batch": options["batch"],
        "image": options["image_size"],
        "dtype": "float32",
        "threads": "all",
        **more,
    }
