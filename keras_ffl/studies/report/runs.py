"""Opens trained runs for reports."""

import collections
import dataclasses

import keras
from absl import logging

from keras_ffl import training
from keras_ffl.config import Config
from keras_ffl.data import DatasetInfo
from keras_ffl.errors import InputError
from keras_ffl.studies.pictures.grad_cam import has_map
from keras_ffl.studies.pictures.views import head_title, shown_heads
from keras_ffl.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained run and its name among others.

    Attributes:
        name: Str, unique: the method, and the folder if that is ambiguous.
        folder: `Workdir`.
        config: `Config`.
        info: `DatasetInfo`.
        model: `keras_ffl.methods.TrainingMethod`.
    """

    name: str
    folder: Workdir
    config: Config
    info: DatasetInfo
    model: keras.Model

    def titles(self, heads, first):
        """The titles of heads.

        Args:
            heads: Sequence of heads of the model.
            first: Bool, whether this is the run that the others are compared
                with. Its heads go by their own names; those of other runs are
                prefixed with the run's name, or replaced by it if there is
                only one.

        Returns:
            Dict from head to str.
        """
        if not first and len(self.model.heads) == 1:
            return {head: self.name for head in heads}
        prefix = "" if first else f"{self.name}: "
        return {head: f"{prefix}{head_title(head)}" for head in heads}


def open_runs(workdir, compare=(), checkpoint="last", data_dir=None):
    """Opens a run and the runs to compare it with.

    Args:
        workdir: Path of the run's folder.
        compare: Sequence of the paths of other runs' folders.
        checkpoint: "last" or "best".
        data_dir: Folder of the data, if it has moved.

    Returns:
        List of `TrainedRun`, starting with that of `workdir`.

    Raises:
        InputError: A folder has no run or no checkpoint, one is named twice,
            or runs have different data sets.
    """
    folders = [Workdir(path) for path in (workdir, *compare)]
    paths = [folder.path.resolve() for folder in folders]
    for folder, path in zip(folders, paths):
        if paths.count(path) > 1:
            raise InputError(f"`compare`: {folder.path} is named twice")
    configs = [folder.config() for folder in folders]
    infos = [folder.dataset_info() for folder in folders]
    for folder, info in zip(folders[1:], infos[1:]):
        _check_same_data(folders[0], infos[0], folder, info)
    for config, info, folder in zip(configs[1:], infos[1:], folders[1:]):
        if (config.data_dir, info.num_train) != (
            configs[0].data_dir,
            infos[0].num_train,
        ):
            logging.warning(
                "%s may have been trained on other images than %s, on whose "
                "test images its errors are counted",
                folder.path,
                folders[0].path,
            )
    configs[0] = configs[0].with_data_dir(data_dir)
    names = _unique_names([config.method for config in configs], folders)
    models = [training.load_run(folder, checkpoint)[::-1] for folder in folders]
    return [
        TrainedRun(name, folder, config, *loaded)
        for name, folder, config, loaded in zip(names, folders, configs, models)
    ]


def _unique_names(methods, folders):
    """The shortest of three names that tells each run from the others."""
    choices = [
        (method, f"{method} ({folder.name})", f"{method} ({folder.path})")
        for method, folder in zip(methods, folders)
    ]
    shared = [collections.Counter(each) for each in zip(*choices)]
    return [
        next((n for n, count in zip(own, shared) if count[n] == 1), own[-1])
        for own in choices
    ]


def _check_same_data(folder, info, other_folder, other):
    for field in ("name", "class_names", "input_shape", "mean", "std"):
        ours, theirs = getattr(info, field), getattr(other, field)
        if ours != theirs:
            raise InputError(
                f"`compare`: {other_folder.path} must have the data set of "
                f"{folder.path}, got another {field}"
                + (f": {theirs}, not {ours}" if len(str(theirs)) < 60 else "")
            )


def views_to_show(runs):
    """The heads of runs that pictures show, in order.

    Args:
        runs: List of `TrainedRun`.

    Returns:
        List of tuples `(run, head, title)`: the main head and all trained ones
        of the first run, and the main heads of the others.
    """
    shown = []
    for run in runs:
        first = run is runs[0]
        heads = shown_heads(run.model) if first else [run.model.primary_head]
        titles = run.titles(heads, first)
        shown += [(run, head, titles[head]) for head in heads]
    return shown


def with_maps(shown):
    """Those of the heads from `views_to_show` with a Grad-CAM map."""
    return [each for each in shown if has_map(each[0].model, each[1])]
