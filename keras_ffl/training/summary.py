"""A page of text about a finished run."""

from keras_ffl.evaluation import format_heads, format_table
from keras_ffl.workdir import Workdir


def summary(workdir, metrics=None):
    """Summarises a finished run for a terminal.

    Args:
        workdir: Path of the run's folder.
        metrics: Dict from `train`, None for what the folder holds.

    Returns:
        Str of at most 80 columns unless names are long: what was trained, the
        errors of every head after the last epoch, how the main head's error
        fell, the last loss terms, cost, and the files.

    Raises:
        InputError: There is no run, or it has no results.
    """
    folder = Workdir(workdir)
    config = folder.config()
    metrics = folder.read_metrics() if metrics is None else metrics
    # A run that goes on has more epochs than its results.
    history = [
        row for row in folder.read_history() if row["epoch"] < metrics["epoch"]
    ]
    parts = [
        f"{config.method} on {config.dataset}: {', '.join(config.networks)}\n"
        f"Test split, seed {config.seed}, epoch {metrics['epoch']}:",
        format_heads(metrics["heads"]),
    ]
    if history:
        evaluation = "holdout" if config.holdout else "evaluation"
        parts += [
            _course(config, history, metrics),
            _terms(history[-1], evaluation),
        ]
    parts += filter(None, [_cost(metrics)])
    files = [folder.curves, folder.history, folder.metrics, folder.logs]
    names = ", ".join(path.name for path in files if path.exists())
    parts.append(f"{folder.path}: {names}")
    return "\n\n".join(parts)


def _course(config, history, metrics):
    """The evaluated error of the main head in a few epochs, as a table."""
    head = config.row.model.primary_head
    names = [f"val_{head}_accuracy", "val_accuracy"]
    name = next((name for name in names if name in history[-1]), None)
    if name is None:
        return f"trained for {len(history)} epochs"
    where = " (holdout)" if config.holdout else ""
    steps = {round(k * (len(history) - 1) / 7) for k in range(8)}
    rows = [history[step] for step in sorted(steps)]
    text = format_table(
        [
            [
                f"top-1 error % of {head}{where}",
                *(f"{100 * (1 - row[name]):.2f}" for row in rows),
            ]
        ],
        ["epoch", *(str(int(row["epoch"]) + 1) for row in rows)],
    )
    best = metrics.get("best")
    if best:
        text += (
            f"\nlowest of {best['head']} on the {best['split']} split: "
            f"{best['top1_error']:.2f} in epoch {best['epoch']}"
        )
    return text


def _terms(row, evaluation):
    """Loss terms and schedules of an epoch, as a table."""
    names = [
        name
        for name in row
        if not name.startswith("val_")
        and not name.endswith("accuracy")
        and name != "epoch"
    ]
    cells = [
        [
            name,
            f"{row[name]:.4g}",
            f"{row[f'val_{name}']:.4g}" if f"val_{name}" in row else "",
        ]
        for name in names
    ]
    return format_table(cells, ["last epoch", "training", evaluation])


def _cost(metrics):
    """Time and size of the training, a line."""
    parts = []
    seconds = metrics.get("seconds_per_epoch")
    if seconds:
        parts.append(f"{seconds:.1f} s per epoch")
    for name in ("steps", "parameters", "multiply_adds"):
        if metrics.get(name):
            parts.append(f"{metrics[name]:,} {name.replace('_', '-')}")
    return ", ".join(parts)
