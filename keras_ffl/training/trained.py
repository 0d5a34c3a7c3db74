"""Opens a trained run: its model, and the data that belong to it."""

import contextlib

from absl import logging

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
        InputError: As in `keras_ffl.workdir.Workdir.load_model`, or another
            file is missing or damaged, or they don't fit each other.
    """
    folder = _opened(folder)
    folder.config()
    info = folder.dataset_info()
    model = folder.load_model(checkpoint)
    _check_fits(
        model,
        info,
        f"{folder.path / 'dataset.json'}",
        "Delete it, and the same command of `train` writes it again",
    )
    return model, info


def describe_run(folder, model, head, checkpoint="last"):
    """Describes the training of a head, for its model card.

    Args:
        folder: As in `load_run`.
        model: The model that `load_run` returned.
        head: One of `model.heads`.
        checkpoint: "last" or "best", as in `load_run`.

    Returns:
        Dict of JSON values, without `method`, `networks`, `epochs` and `seed`
        for a head that another run has trained. `errors` is None unless
        `metrics.json` has the errors of this head of this epoch: top-1 and
        top-5 error in percent and loss in nats, and the split that they were
        counted on.
    """
    folder = _opened(folder)
    config = folder.config()
    epochs = int(model.epochs_trained.numpy())
    metrics, errors = {}, None
    # A head can be exported before the end of its run.
    with contextlib.suppress(InputError):
        metrics = folder.read_metrics()
    best = metrics.get("best") or {}
    if checkpoint == "last" and metrics.get("epoch") == epochs:
        counted = metrics["heads"].get(head, {})
        errors = {
            name: counted[name]
            for name in ("top1_error", "top5_error", "loss")
            if name in counted
        }
        errors["split"] = "test"
    elif (best.get("head"), best.get("epoch")) == (head, epochs):
        errors = {name: best[name] for name in ("top1_error", "split")}
    own = {
        "method": config.method,
        "networks": list(config.networks),
        "epochs": epochs,
        "seed": config.seed,
    }
    return {
        **({} if head in config.row.runs else own),
        "checkpoint": checkpoint,
        "errors": errors,
        "versions": metrics.get("versions"),
    }


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
    difference = folder.other_data(dataset.counted, ("num_test",))
    if difference:
        logging.warning(
            "results are of other test images than the run's: %s", difference
        )
    return dataset


def _opened(folder):
    """The `Workdir` of a path; of a `Workdir`, itself."""
    return folder if isinstance(folder, Workdir) else Workdir(folder)


def check_data(folder, dataset, model, training=False):
    """Checks that a data set is that of a run.

    Args:
        folder: `keras_ffl.workdir.Workdir`.
        dataset: Data set.
        model: The run's model.
        training: Bool, whether the run goes on, which needs as many images as
            before.

    Raises:
        InputError: The data set doesn't fit the model, or is another one than
            `dataset.json` describes.
    """
    _check_fits(
        model,
        dataset.info,
        f"the data set of {folder.path / 'config.json'}",
        "Restore the file or the data, or use another workdir",
    )
    counts = ("num_train", "num_test") if training else ()
    difference = folder.other_data(dataset.counted, counts)
    if difference:
        raise InputError(
            f"the data set must be that of {difference}. Restore the data, or "
            "use another workdir"
        )


def _check_fits(model, info, what, advice):
    try:
        check_info(model, info)
    except InputError as error:
        raise InputError(f"{what}: {error}. {advice}") from error
