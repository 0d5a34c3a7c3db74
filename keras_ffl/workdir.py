"""The folder of a run: configuration, history, checkpoints, results."""

import contextlib
import json
import operator
import pathlib

import numpy as np
from absl import logging

from keras_ffl.callbacks import broken_weight
from keras_ffl.checkpoint_folder import CheckpointFolder
from keras_ffl.config import Config
from keras_ffl.data import DatasetInfo
from keras_ffl.errors import InputError, printable
from keras_ffl.history_file import (
    add_to_history,
    cut_history,
    read_history,
)
from keras_ffl.run_files import read_as, read_metrics
from keras_ffl.whole_files import check_folder, write_whole

# Fields that may change when a run is resumed.
_FREE = ("epochs", "data_dir")


def _write_json(path, value):
    write_whole(path, json.dumps(value, indent=2) + "\n")


def folder_path(path):
    """The path of a folder of runs.

    Args:
        path: Str or path.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: It is empty or not in UTF-8, which the code that writes
            its files needs.
    """
    if not str(path) or printable(path) != str(path):
        raise InputError(
            "`workdir` must be the path of a folder, in UTF-8, got "
            f"'{printable(path)}'"
        )
    return pathlib.Path(path)


class Workdir(CheckpointFolder):
    """A run's folder.

    It contains `config.json`, `dataset.json` (the data set's description),
    `history.csv` (one row per epoch), `checkpoints/epoch_NNNN.keras` and
    `checkpoints/best_NNNN.keras` (named by the number of finished epochs),
    `logs/` (TensorBoard), `curves.png`, `metrics.json` and exported models.

    Args:
        path: Path of the folder, which may not exist yet.

    Raises:
        InputError: As in `folder_path`.
    """

    def __init__(self, path):
        self.path = folder_path(path)
        super().__init__(self.path / "checkpoints")
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.curves = self.path / "curves.png"
        self.logs = self.path / "logs"

    # ----- opening -------------------------------------------------------

    @property
    def name(self):
        """The folder's own name, also of a path such as "."."""
        return self.path.resolve().name

    @property
    def started(self):
        """Whether a run has been started in the folder."""
        return (self.path / "config.json").exists()

    def check(self, config):
        """Checks that a run may be started or resumed.

        Creates the folder if necessary, but changes nothing in it.

        Args:
            config: `keras_ffl.config.Config` of the run.

        Raises:
            InputError: The folder can't be written, or contains a run with
                another configuration (the message names the difference).
        """
        self._check_files()
        check_folder(self.path, "workdir")
        check_folder(self.checkpoints, "workdir")
        if not self.started:
            if self.checkpoint_files() or self.all_progress():
                raise InputError(
                    f"{self.path} holds checkpoints but no config.json that "
                    "says which run they belong to; use another folder"
                )
            return
        old, new = self.config().to_dict(), config.to_dict()
        differences = [
            f"{key} is {old[key]!r}, requested {new[key]!r}"
            for key in old
            if key not in (*_FREE, "preset", *config.idle())
            and key in new
            and old[key] != new[key]
        ]
        if new["epochs"] < old["epochs"]:
            differences.append(
                f"epochs is {old['epochs']}, requested fewer: {new['epochs']}"
            )
        fixed = [config.row.fixed_epochs] if config.row.fixed_epochs else []
        if new["lr_schedule"] == "cosine":
            fixed.append("the rate of a cosine schedule in finished epochs")
        if new["epochs"] > old["epochs"]:
            differences += [
                f"epochs is {old['epochs']}, requested {new['epochs']}, which "
                f"would change {what}"
                for what in fixed
            ]
        if differences:
            raise InputError(
                f"{self.path} holds a run with another configuration: "
                f"{'; '.join(differences)}"
            )

    def _check_files(self):
        """Raises `InputError` if a file or folder is in the other's place."""
        files = self.metrics, self.history, self.curves, self.path / ".lock"
        for path in (*files, *self.checkpoints.glob("*.*")):
            if path.is_dir():
                raise InputError(f"{path} must be a file, got a folder")
        for path in (self.logs, self.checkpoints):
            if path.exists() and not path.is_dir():
                raise InputError(f"{path} must be a folder, got a file")

    def start(self, config, info):
        """Writes the files that describe the run.

        Args:
            config: `keras_ffl.config.Config`.
            info: `keras_ffl.data.DatasetInfo`.
        """
        _write_json(self.path / "config.json", config.to_dict())
        _write_json(self.path / "dataset.json", info.to_dict())

    def config(self):
        """The `keras_ffl.config.Config` of the run.

        Raises:
            InputError: The folder contains no run.
        """
        if not self.started:
            raise InputError(f"{self.path} holds no run (no config.json)")
        return read_as(
            Config,
            self.path / "config.json",
            "Restore it, or use another workdir",
        )

    def dataset_info(self):
        """The `keras_ffl.data.DatasetInfo` of the run.

        Raises:
            InputError: It is missing or can't be read.
        """
        return read_as(
            DatasetInfo,
            self.path / "dataset.json",
            "Delete it, and the same command of `train` writes it again",
        )

    def other_data(self, info, counts=()):
        """Says in what a data set differs from the run's.

        Args:
            info: `keras_ffl.data.DatasetInfo`.
            counts: Names of the numbers of images to compare, if the run knows
                them.

        Returns:
            Str, the file and the difference, or None if it is the same or the
            run has no `dataset.json`.
        """
        if not (self.path / "dataset.json").exists():
            return None
        known = self.dataset_info()
        names = ["class_names", "mean", "std", "central_crop"]
        names += [n for n in counts if getattr(known, n) is not None]
        for name in names:
            ours, theirs = getattr(known, name), getattr(info, name)
            same = np.allclose if name in ("mean", "std") else operator.eq
            if not same(ours, theirs):
                return (
                    f"{self.path / 'dataset.json'}: `{name}` is "
                    f"{str(ours)[:200]} there, got {str(theirs)[:200]}"
                )
        return None

    def left_out(self):
        """Names of the photos that the run leaves out, None without a run."""
        if not (self.path / "dataset.json").exists():
            return None
        return self.dataset_info().left_out

    # ----- checkpoints ---------------------------------------------------

    def load_model(self, checkpoint="last"):
        """Loads a trained model of the run.

        Args:
            checkpoint: "last" or "best".

        Returns:
            Compiled `keras_ffl.methods.TrainingMethod`.

        Raises:
            InputError: There is no such checkpoint, it can't be read, or a
                weight is NaN or infinite.
        """
        self.config()
        if checkpoint not in ("last", "best"):
            raise InputError(
                f"`checkpoint` must be last or best, got {checkpoint!r}"
            )
        known = self._known_epochs()
        if checkpoint == "last":
            model, epochs = self.load_checkpoint()
        else:
            model, epochs = self.load_best(), known
        if model is None:
            lost = (
                f", but the run has finished {known}. Restore it, or start "
                "over in another workdir"
            )
            raise InputError(
                f"{self.checkpoints} holds no checkpoint of the {checkpoint} "
                f"epoch{lost if known else ' yet'}"
            )
        self._warn_of_lost_epochs(known, epochs)
        broken = broken_weight(model)
        if broken is not None:
            raise InputError(
                f"the {checkpoint} checkpoint in {self.checkpoints} must have "
                f"finite weights, got NaN or infinity in {broken}"
            )
        return model

    def _known_epochs(self, ahead=0):
        """The number of finished epochs by all files of the run, or 0.

        Args:
            ahead: Int, number of epochs that history and best model may be
                ahead of the last checkpoint: 1 after a kill between them.
        """
        known = [0, *(epochs for epochs, _ in self.all_progress())]
        known.append((self.best_epochs() or 0) - ahead)
        # A model can be loaded whatever happened to these two files.
        with contextlib.suppress(InputError):
            rows = self.read_history()
            known += [int(row["epoch"]) + 1 - ahead for row in rows]
        with contextlib.suppress(InputError):
            known.append(self.read_metrics()["epoch"])
        return max(known)

    def _warn_of_lost_epochs(self, known, epochs):
        if known > epochs:
            logging.warning(
                "%s: there is no checkpoint of epoch %d; this is the model of "
                "epoch %d",
                self.path,
                known,
                epochs,
            )

    # ----- history -------------------------------------------------------

    def read_history(self):
        """The rows of `history.csv`, a list of dicts from column to float.

        Raises:
            InputError: As in `keras_ffl.history_file.read_history`.
        """
        return read_history(self.history)

    def add_to_history(self, row):
        """Writes a row, as in `keras_ffl.history_file.add_to_history`."""
        add_to_history(self.history, row)

    def cut_to(self, epochs):
        """Deletes the records of epochs that will be run again.

        Args:
            epochs: Int, number of finished epochs.
        """
        known = self._known_epochs(ahead=1)
        self._warn_of_lost_epochs(known, epochs)
        self.drop_checkpoints_after(epochs)
        cut_history(self.history, epochs, known)

    # ----- results -------------------------------------------------------

    def finished(self, epochs):
        """Whether `metrics.json` has the result of this many epochs."""
        return self.metrics.exists() and (
            self.read_metrics().get("epoch") == epochs
        )

    def write_metrics(self, metrics):
        """Writes `metrics.json`."""
        _write_json(self.metrics, metrics)

    def read_metrics(self):
        """The content of `metrics.json`.

        Raises:
            InputError: It is missing or can't be read.
        """
        return read_metrics(self.metrics)
