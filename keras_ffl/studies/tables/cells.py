"""Cells: one configuration and seed each, in a folder named by them."""

import dataclasses
import hashlib
import json
import pathlib

from keras_ffl.config import Config
from keras_ffl.errors import InputError, one_line
from keras_ffl.whole_files import write_whole
from keras_ffl.workdir import Workdir

# Exit codes of a cell's process; any other code says how it ended.
FAILED, BUSY, STOPPED = 3, 4, 75

# Fields that don't affect what is trained.
_NOT_IN_NAME = ("seed", "data_dir", "preset")


def configuration_name(config):
    """The part of a cell's name that all its seeds share.

    It only depends on fields that differ from their defaults, so that new
    fields of `Config` don't rename cells.

    Args:
        config: `keras_ffl.config.Config`.

    Returns:
        Str such as "cifar100_ffl_resnet32x2_307_1a2b3c4d".
    """
    defaults = Config(method=config.method).to_dict() | {"method": "ffl"}
    different = {
        key: value
        for key, value in config.to_dict().items()
        if key not in _NOT_IN_NAME and value != defaults[key]
    }
    text = json.dumps(different, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    networks = "-".join(config.networks)
    if has_branches(config):
        networks = f"{networks}x{config.options.branches}"
    return (
        f"{config.dataset}_{config.method}_{networks}_{config.epochs}_{digest}"
    )


def has_branches(config):
    """Whether a configuration's `branches` is relevant."""
    return "branches" in vars(config.options).keys() - config.idle()


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
        config: `keras_ffl.config.Config`, including its seed.
        root: `pathlib.Path` of the folder with all cells.
    """

    config: Config
    root: pathlib.Path

    @property
    def name(self):
        """Name of the cell's folder."""
        return f"{configuration_name(self.config)}_seed{self.config.seed}"

    @property
    def path(self):
        """`pathlib.Path` of the cell's folder."""
        return self.root / self.name

    @property
    def workdir(self):
        """The cell's `keras_ffl.workdir.Workdir`."""
        return Workdir(self.path)

    def metrics(self):
        """The content of `metrics.json` if the cell is finished, else None.

        Raises:
            InputError: A file can't be read, or the folder has a run with
                another configuration.
        """
        if not self.workdir.finished(self.config.epochs):
            return None
        found = dataclasses.replace(
            self.workdir.config(),
            preset=self.config.preset,
            data_dir=self.config.data_dir,
        )
        if found != self.config:
            raise InputError(
                f"{self.name} holds a run with another configuration"
            )
        return self.workdir.read_metrics()

    @property
    def finished(self):
        """Whether the cell has a result."""
        try:
            return self.metrics() is not None
        except InputError:
            return False

    @property
    def epochs_done(self):
        """Number of epochs after which training would resume."""
        return next(iter(self.workdir.checkpoint_files()), 0)

    def failure(self):
        """Why the cell has no result, one line, or None if it never failed."""
        try:
            if self.metrics() is not None:
                return None
            return json.loads(failure_file(self.path).read_text())["reason"]
        except FileNotFoundError:
            return None
        except InputError as error:
            return one_line(error)
        except (OSError, ValueError, KeyError, TypeError):
            return "failed.json can't be read"

    def state(self):
        """The state of the cell, one line."""
        if self.finished:
            return "finished"
        done = self.epochs_done
        state = f"{done} of {self.config.epochs} epochs" if done else "missing"
        reason = self.failure()
        return f"{state}, failed: {reason}" if reason else state


def failure_file(path):
    """Path of the file in a cell's folder with the reason of a failure."""
    return pathlib.Path(path) / "failed.json"


def store_failure(path, reason):
    """Writes the reason of a failure into a cell's folder."""
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"reason": one_line(reason)}) + "\n"
    write_whole(failure_file(path), text)


def cells_of(table, runs, root, data_dir=None):
    """The distinct cells of a table, all of seed 0 before seed 1.

    Args:
        table: `keras_ffl.studies.tables.Table`.
        runs: Int, number of seeds.
        root: Folder of the cells.
        data_dir: Folder of tensorflow-datasets or None.

    Returns:
        List of `Cell`.
    """
    cells = [
        cell_of(entry, seed, root, data_dir)
        for seed in range(runs)
        for entry in table.entries
    ]
    return list({cell.name: cell for cell in cells}.values())


def cell_of(entry, seed, root, data_dir=None):
    """The cell for a table's entry and a seed."""
    config = dataclasses.replace(entry.config, seed=seed)
    return Cell(config.with_data_dir(data_dir), pathlib.Path(root))
