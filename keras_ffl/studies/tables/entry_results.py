"""The results of finished cells for each entry of a table."""

import dataclasses
import math
import statistics

from keras_ffl.errors import InputError
from keras_ffl.studies.tables.cells import Cell, cell_of
from keras_ffl.studies.tables.entries import Entry


@dataclasses.dataclass(frozen=True)
class Result:
    """An entry of a table and its runs.

    Attributes:
        entry: `keras_ffl.studies.tables.Entry`.
        errors: Dict from the seeds of finished runs to the error after the
            last epoch in percent.
        best_epochs: Dict from seed to the lowest error after any epoch,
            without seeds whose history doesn't have it.
        deployed: Tuple of parameters and multiply-adds of the head, or None.
        trained: The same for the whole trained model.
        seconds_per_epoch: Mean over the runs, or None.
        versions: The runs' packages, such as "keras 3.15.1".
        unfinished: Cells without a result.
    """

    entry: Entry
    errors: dict[int, float]
    best_epochs: dict[int, float]
    deployed: tuple[int, int] | None
    trained: tuple[int, int] | None
    seconds_per_epoch: float | None
    versions: frozenset[str]
    unfinished: tuple[Cell, ...]

    @property
    def mean(self):
        """Mean error after the last epoch, or None."""
        return mean_of(self.errors.values())

    @property
    def std(self):
        """Its standard deviation with n - 1, or None for fewer than 2 runs."""
        return std_of(self.errors.values())

    @property
    def best_epoch(self):
        """Mean and standard deviation of the best epochs' errors, or None."""
        errors = self.best_epochs.values()
        return mean_of(errors), std_of(errors)

    @property
    def best_run(self):
        """Lowest error after the last epoch of any run, or None."""
        return min(self.errors.values(), default=None)

    @property
    def difference(self):
        """Our mean minus the paper's, or None."""
        if self.mean is None or self.entry.paper is None:
            return None
        return self.mean - self.entry.paper.mean

    @property
    def differs(self):
        """Whether the difference exceeds two of its standard deviations.

        None if that is unknown, without a deviation of several runs on both
        sides.
        """
        paper = self.entry.paper
        if self.difference is None or self.std is None:
            return None
        if paper.std is None or (paper.runs or 0) < 2:
            return None
        deviation = math.sqrt(
            self.std**2 / len(self.errors) + paper.std**2 / paper.runs
        )
        return abs(self.difference) > 2 * deviation


def mean_of(values):
    """Mean, or None without values."""
    values = list(values)
    return statistics.fmean(values) if values else None


def std_of(values):
    """Sample standard deviation (n - 1), or None for fewer than 2 values."""
    values = list(values)
    return statistics.stdev(values) if len(values) > 1 else None


def collect(table, runs, root):
    """Reads the results of a table's cells.

    Args:
        table: `keras_ffl.studies.tables.Table`.
        runs: Int, number of seeds.
        root: Folder of the cells.

    Returns:
        List of `Result`, in the table's order.
    """
    cells = {}
    for seed in range(runs):
        for entry in table.entries:
            cell = cell_of(entry, seed, root)
            if cell.name not in cells:
                cells[cell.name] = (cell, *_read(cell))
    return [
        _result(
            entry,
            [cells[cell_of(entry, k, root).name] for k in range(runs)],
        )
        for entry in table.entries
    ]


def _read(cell):
    """Metrics of a finished cell or None, and its history if that is whole."""
    try:
        metrics = cell.metrics()
    except (InputError, ValueError):
        metrics = None
    if metrics is None:
        return None, []
    try:
        history = cell.workdir.read_history()
    except InputError:
        history = []
    epochs = [row["epoch"] for row in history]
    whole = epochs == list(range(cell.config.epochs))
    return metrics, history if whole else []


def _result(entry, runs):
    finished = [
        (cell.config.seed, metrics, history)
        for cell, metrics, history in runs
        if metrics
    ]
    errors = {
        seed: error_of(metrics["heads"], entry.head, entry.metric)
        for seed, metrics, _ in finished
    }
    best = {
        seed: best_epoch_error(metrics["heads"], history, entry)
        for seed, metrics, history in finished
    }
    seconds = [m["seconds_per_epoch"] for _, m, _ in finished]
    deployed = trained = None
    if finished:
        metrics = finished[0][1]
        head = metrics["heads"][heads_of(metrics["heads"], entry.head)[0]]
        deployed = head["parameters"], head["multiply_adds"]
        trained = metrics["parameters"], metrics["multiply_adds"]
    return Result(
        entry=entry,
        errors=errors,
        best_epochs={k: v for k, v in best.items() if v is not None},
        deployed=deployed,
        trained=trained,
        seconds_per_epoch=mean_of(s for s in seconds if s is not None),
        versions=frozenset(
            f"{name} {version}"
            for _, metrics, _ in finished
            for name, version in metrics["versions"].items()
        ),
        unfinished=tuple(cell for cell, metrics, _ in runs if not metrics),
    )


def heads_of(heads, selector):
    """The names of the heads that a selector refers to.

    Args:
        heads: Iterable of all names.
        selector: One of them, or "sub" for all sub-networks.

    Returns:
        Non-empty list of str.

    Raises:
        InputError: There is no such head.
    """
    chosen = [
        head
        for head in heads
        if head == selector or (selector == "sub" and head.startswith("sub_"))
    ]
    if not chosen:
        raise InputError(
            f"`head` must be sub or one of {', '.join(heads)}, got {selector!r}"
        )
    return chosen


def error_of(heads, selector, metric="top1_error"):
    """The error of a head, or the mean over the sub-networks, in one run.

    Args:
        heads: Dict from head to its results, as in `metrics.json`.
        selector: Name of a head or "sub".
        metric: "top1_error" or "top5_error".

    Returns:
        Float, percent.
    """
    return mean_of(heads[h][metric] for h in heads_of(heads, selector))


def best_epoch_error(heads, history, entry):
    """The lowest top-1 error after any epoch of one run, in percent.

    Args:
        heads: Dict from head to its results, as in `metrics.json`.
        history: Rows of `history.csv`.
        entry: `keras_ffl.studies.tables.Entry`.

    Returns:
        Float, or None if the history doesn't have it, as for top-5.
    """
    chosen = heads_of(heads, entry.head)
    columns = (
        ["val_accuracy"]
        if len(heads) == 1
        else [f"val_{head}_accuracy" for head in chosen]
    )
    if entry.metric != "top1_error":
        return None
    errors = [
        100 * (1 - mean_of(row[column] for column in columns))
        for row in history
        if all(column in row for column in columns)
    ]
    # Logits that tie in validation may differ in the evaluation, so the last
    # epoch's reported error counts too.
    return min(errors + [error_of(heads, entry.head)]) if errors else None
