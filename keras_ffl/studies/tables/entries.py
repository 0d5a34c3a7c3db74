"""What a table is made of."""

import dataclasses

from keras_ffl.config import Config


@dataclasses.dataclass(frozen=True)
class PrintedError:
    """An error as the paper prints it, in percent.

    Attributes:
        mean: Float.
        std: Float, or None where none is printed.
        runs: Number of runs that `mean` and `std` are of, or None where it
            is not stated.
        best: Error of the best run, or None where it is not printed.
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
        config: `keras_ffl.config.Config` of the runs, whatever their seed.
        head: Name of a head, or "sub" for the mean over the sub-networks
            within each run.
        paper: `PrintedError`, or None where the paper has none.
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
        key: What `--table` calls it.
        title: One line.
        entries: Tuple of `Entry`.
        notes: Tuple of sentences a reader of the table needs.
    """

    key: str
    title: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
