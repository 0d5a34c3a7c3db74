"""The parts of a table."""

import dataclasses

from keras_ffl.config import Config


@dataclasses.dataclass(frozen=True)
class PrintedError:
    """An error printed in the paper, in percent.

    Attributes:
        mean: Float.
        std: Float, or None if it isn't printed.
        runs: Number of runs behind `mean` and `std`, or None if it isn't
            stated.
        best: Error of the best run, or None if it isn't printed.
        parameters: Printed number of parameters in millions, or None.
    """

    mean: float
    std: float | None = None
    runs: int | None = None
    best: float | None = None
    parameters: float | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One error of a table.

    Attributes:
        row: Label of the row.
        column: Label of the column.
        config: `keras_ffl.config.Config` of the runs, with any seed.
        head: Name of a head, or "sub" for the mean over the sub-networks
            within each run.
        paper: `PrintedError`, or None if the paper has none.
        metric: "top1_error" or "top5_error".
    """

    row: str
    column: str
    config: Config
    head: str
    paper: PrintedError | None = None
    metric: str = "top1_error"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: its entries, row by row.

    Attributes:
        key: Its name for `--table`.
        title: One line.
        entries: Tuple of `Entry`.
        notes: Tuple of sentences that readers of the table need.
    """

    key: str
    title: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
