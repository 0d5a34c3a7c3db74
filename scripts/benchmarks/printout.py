"""The output: the machine, a table for each part, and the ratios."""

import datetime
import importlib.metadata
import os
import platform

PACKAGES = ("keras-ffl", "tensorflow", "keras", "jax", "torch", "numpy")


def describe_machine():
    """The machine, the date and the versions, a dict."""
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def _cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def format_part(name, part, machine):
    """Formats a part's results as text.

    Args:
        name: Str.
        part: Dict of "about" (dict of settings), "rows" (list of dicts with
            equal keys) and "ratios" (dict from name to median, low, high).
        machine: Dict of `describe_machine`.

    Returns:
        Str.
    """
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    about = ", ".join(f"{k} {v}" for k, v in part["about"].items())
    lines = [
        f"\n## {name}",
        f"{machine['machine']['cores']} cores of {machine['machine']['cpu']}, "
        f"{machine['date']}, {versions}",
        about,
        "",
    ]
    if part["rows"]:
        lines += _table(list(part["rows"][0]), map(_cells, part["rows"]))
        lines.append("")
    lines += _table(
        ["ratio", "median", "least", "largest"],
        [
            [ratio, *(f"{value[key]:.3f}" for key in ("median", "low", "high"))]
            for ratio, value in part["ratios"].items()
        ],
    )
    return "\n".join(lines)


def _cells(row):
    return [
        f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()
    ]


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
