"""The checkpoints of a run."""

import re

import keras
import numpy as np
from absl import logging

from keras_ffl.errors import InputError, first_line
from keras_ffl.whole_files import replacing

# Keras' message about an unregistered class. The model's whole configuration
# follows it.
_MISSING = re.compile(
    r"Could not locate (class|function) '([^']*)'.*?"
    r"Full object config: {'module': '([^']*)'",
    re.DOTALL,
)


class _MissingClass(InputError):
    """A checkpoint's class has not been imported."""


class CheckpointFolder:
    """The folder of a run's checkpoints.

    Args:
        path: `pathlib.Path`.
    """

    def __init__(self, path):
        self.checkpoints = path

    def checkpoint_files(self):
        """Dict from number of finished epochs to checkpoint, newest first."""
        return self._numbered("epoch")

    def _numbered(self, kind):
        found = {}
        for path in self.checkpoints.glob(f"{kind}_*.keras"):
            match = re.fullmatch(rf"{kind}_(\d+)\.keras", path.name)
            if match:
                found[int(match[1])] = path
        return dict(sorted(found.items(), reverse=True))

    def best_epochs(self):
        """Number of finished epochs of the best checkpoint, or None."""
        return next(iter(self._numbered("best")), None)

    def save_checkpoint(self, model, epochs, keep):
        """Saves a model after an epoch and deletes old checkpoints.

        Args:
            model: Compiled Keras model.
            epochs: Int, number of finished epochs.
            keep: Int, number of checkpoints to keep.
        """
        self._save(model, self.checkpoints / f"epoch_{epochs:04d}.keras")
        old = [
            *list(self.checkpoint_files().values())[keep:],
            *list(self._numbered("best").values())[1:],
            *self.all_progress().values(),
        ]
        for path in old:
            path.unlink()

    def save_best(self, model, epochs):
        """Saves a model as the best one.

        The one before is kept until the epoch is saved: without that, the
        epoch is trained again and may turn out otherwise.

        Args:
            model: Compiled Keras model.
            epochs: Int, number of finished epochs.
        """
        self._save(model, self.checkpoints / f"best_{epochs:04d}.keras")

    def _save(self, model, path):
        with replacing(path) as unfinished:
            model.save(unfinished)

    def save_progress(self, arrays, epochs, step):
        """Saves training in the middle of an epoch; keeps the last two states.

        Args:
            arrays: Dict of arrays.
            epochs: Int, number of finished epochs.
            step: Int, number of finished steps of the next epoch.
        """
        name = f"epoch_{epochs:04d}_step_{step:07d}.npz"
        with replacing(self.checkpoints / name) as unfinished:
            np.savez(unfinished, **arrays)
        for path in list(self.all_progress().values())[2:]:
            path.unlink()

    def progress_files(self, epochs):
        """The files of `save_progress` after a number of finished epochs.

        Args:
            epochs: Int.

        Returns:
            Dict from path to the number of finished steps, newest first.
        """
        return {
            path: step
            for (finished, step), path in self.all_progress().items()
            if finished == epochs
        }

    def all_progress(self):
        """Dict from (finished epochs, steps) to a file, newest first."""
        found = {}
        for path in self.checkpoints.glob("epoch_*_step_*.npz"):
            match = re.fullmatch(r"epoch_(\d+)_step_(\d+)\.npz", path.name)
            if match:
                found[int(match[1]), int(match[2])] = path
        return dict(sorted(found.items(), reverse=True))

    def read_arrays(self, path):
        """Reads a dict of arrays saved by `save_progress`.

        Raises:
            InputError: The file can't be read.
        """
        # Every other content fails in its own way. NumPy doesn't close a file
        # that it fails to read.
        try:
            with path.open("rb") as stream, np.load(stream) as file:
                return dict(file)
        except Exception as error:
            raise InputError(
                f"checkpoint {path} is damaged ({type(error).__name__})"
            ) from error

    def load_checkpoint(self):
        """Loads the newest readable checkpoint.

        Damaged ones are skipped with a warning.

        Returns:
            Tuple of the compiled model and its number of finished epochs, or
            (None, 0) if there is no checkpoint.

        Raises:
            InputError: There are checkpoints, but none can be read.
        """
        reasons = []
        for epochs, path in self.checkpoint_files().items():
            try:
                return self._load(path), epochs
            except _MissingClass:
                raise
            except InputError as error:
                reasons.append(str(error))
                logging.warning("%s; trying the one before", error)
        if reasons:
            raise InputError(
                f"no checkpoint can be read: {'; '.join(reasons)}. Use "
                "another workdir to start over"
            )
        return None, 0

    def load_best(self):
        """Loads the best model.

        Returns:
            Compiled Keras model, or None if there is no best checkpoint.

        Raises:
            InputError: The model can't be read.
        """
        for path in self._numbered("best").values():
            try:
                return self._load(path)
            except _MissingClass:
                raise
            except InputError as error:
                raise InputError(
                    f"{error}. Restore it, or use the last checkpoint"
                ) from error
        return None

    def _load(self, path):
        # Any error of Keras, h5py or zipfile means that the file is unusable.
        try:
            return keras.models.load_model(path)
        except Exception as error:
            missing = _MISSING.search(str(error))
            if missing:
                kind, name, module = missing.groups()
                if module in ("builtins", "__main__"):
                    # Keras doesn't know the module of functions and scripts.
                    module = "MODULE"
                raise _MissingClass(
                    f"checkpoint {path} needs the {kind} {name} of module "
                    f"{module}: import it first (commands: --import={module})"
                ) from error
            raise InputError(
                f"checkpoint {path} is damaged or of another version "
                f"({type(error).__name__}: {first_line(error)[:200]})"
            ) from error

    def drop_checkpoints_after(self, epochs):
        """Deletes everything saved after a number of finished epochs.

        Args:
            epochs: Int.
        """
        for path in self.checkpoints.glob("unfinished_*"):
            path.unlink()
        for (finished, _), path in self.all_progress().items():
            if finished != epochs:
                path.unlink()
        for kind in ("epoch", "best"):
            for finished, path in self._numbered(kind).items():
                if finished > epochs:
                    path.unlink()
