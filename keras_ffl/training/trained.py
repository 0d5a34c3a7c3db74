"""Opens a trained run: its model, and the data that belong to it."""

from keras_ffl.errors import InputError
from keras_ffl.export.exportable import check_info
from keras_ffl.training.parts import load_data
from keras_ffl.workdir import Workdir


def load_run(folder, checkpoint="last"):
    """Loads a trained model and the description of its data.

    Args:
        folder: Path of the run's folder, or its `keras_ffl.workdir.Workdir`.
        checkpoint: "last" or "best".

    Returns:
        Tuple of the compiled `keras_ffl.methods.TrainingMethod` and its
        `keras_ffl.data.DatasetInfo`.

    Raises:
        InputError: A file is missing or damaged, or they don't fit each other.
    """
    folder = _opened(folder)
    folder.config()
    info = folder.dataset_info()
    model = folder.load_model(checkpoint)
    _check_fits(
        model,
        info,
        f"{folder.path / 'dataset.json'}",
        "Delete it, and the same command of train.py writes it again",
    )
    return model, info


def load_run_data(folder, config, model):
    """Loads the data set of a trained run.

    Args:
        folder: As in `load_run`.
        config: Its `keras_ffl.config.Config`, possibly with another
            `data_dir`.
        model: Its model.

    Returns:
        The data set without the held-out part.

    Raises:
        InputError: The data set can't be loaded, or doesn't fit the model.
    """
    folder = _opened(folder)
    left_out = folder.left_out()
    try:
        dataset, _ = load_data(config, left_out)
    except InputError as error:
        raise InputError(
            f"{folder.path / 'config.json'}: {error}. Restore the file or the "
            "data, or give another `data_dir`"
        ) from error
    check_data(folder, dataset, model)
    return dataset


def _opened(folder):
    """The `Workdir` of a path; of a `Workdir`, itself."""
    return folder if isinstance(folder, Workdir) else Workdir(folder)


def check_data(folder, dataset, model):
    """Raises `InputError` unless a data set fits the model of a run."""
    _check_fits(
        model,
        dataset.info,
        f"the data set of {folder.path / 'config.json'}",
        "Restore the file or the data, or use another workdir",
    )


def _check_fits(model, info, what, advice):
    try:
        check_info(model, info)
    except InputError as error:
        raise InputError(f"{what}: {error}. {advice}") from error
