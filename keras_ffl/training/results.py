"""The output of a run, during training and at its end."""

import keras
from absl import logging

from keras_ffl import backend
from keras_ffl.callbacks import Checkpoints, History
from keras_ffl.data import evaluation_batch_size
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.export.cards import versions
from keras_ffl.models import count_multiply_adds, count_parameters
from keras_ffl.training.curves import plot_curves
from keras_ffl.training.progress_line import ProgressLine, shows_bars


def writers(model, config, folder):
    """The callbacks that write into a run's folder, a list.

    Args:
        model: Compiled `keras_ffl.methods.TrainingMethod`.
        config: `keras_ffl.config.Config`.
        folder: `keras_ffl.workdir.Workdir` of the run.
    """
    monitor = _monitored_accuracy(model)
    best = _best_row(folder, monitor)
    if best is None and folder.best_epochs() is not None:
        logging.warning(
            "%s lacks the accuracy of the best checkpoint, of epoch %d; the "
            "next epoch counts as the best so far",
            folder.history,
            folder.best_epochs(),
        )
    return [
        # The history is written before the checkpoint: if a run dies between
        # the two, resuming cuts the history to the checkpoint.
        History(folder),
        *(
            [keras.callbacks.TensorBoard(folder.logs, write_graph=False)]
            if backend.TENSORBOARD
            else []
        ),
        Checkpoints(
            folder, monitor, best and best[monitor], config.keep_checkpoints
        ),
    ]


def _monitored_accuracy(model):
    """Name of the logged accuracy that determines the best epoch."""
    if len(model.heads) == 1:
        return "val_accuracy"
    return f"val_{model.primary_head}_accuracy"


def progress_line(model, config, steps):
    """The callback that shows how far training is, a `ProgressLine`.

    Args:
        model: Compiled `keras_ffl.methods.TrainingMethod`.
        config: `keras_ffl.config.Config`.
        steps: As in `ProgressLine`.
    """
    return ProgressLine(
        model.primary_head,
        _monitored_accuracy(model).removeprefix("val_"),
        model.loss_terms,
        steps,
        config.epochs,
    )


def _best_row(folder, monitor):
    """The row of the history for the best checkpoint, or None."""
    epochs = folder.best_epochs()
    rows = {int(row["epoch"]) + 1: row for row in folder.read_history()}
    row = rows.get(epochs, {})
    # Another program may have removed the column.
    return row if monitor in row else None


def _evaluated(model, config, folder, dataset, verbose, devices):
    """Evaluates all heads of the last epoch's model on the test split.

    Each process evaluates its part, and the counts are summed.
    """
    if devices.replicas > 1:
        # On one device, since the parts of the test split may differ in size.
        # The first check waits until worker 0 has saved the checkpoint.
        devices.check_same(config.epochs, "the number of epochs")
        model, epochs = folder.load_checkpoint()
        devices.check_same(epochs, f"the last checkpoint in {folder.path}")
    process = devices.process
    images = len(dataset.y_test)
    batch = evaluation_batch_size(images, config.eval_batch_size, process.total)
    rows = process.rows(images, batch)
    return evaluate_heads(
        model,
        dataset.evaluation_batches(batch, share=process),
        dataset.y_test[rows],
        shows_bars(verbose),
        add_up=devices.sum_over_processes,
    )


def results(model, config, folder, dataset, seconds, verbose, devices):
    """Computes the content of `metrics.json` for the last epoch's model.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        config: `keras_ffl.config.Config`.
        folder: `keras_ffl.workdir.Workdir` of the run.
        dataset: Data set from `load_data`.
        seconds: Float, seconds per epoch, or None.
        verbose: As in `keras_ffl.training.train`.
        devices: Result of `make_devices`.

    Returns:
        Dict of JSON values.
    """
    heads = _evaluated(model, config, folder, dataset, verbose, devices)
    history = folder.read_history()
    if history and devices.chief:
        plot_curves(history, folder.curves, bool(config.holdout))
    monitor = _monitored_accuracy(model)
    best = _best_row(folder, monitor)
    return {
        "heads": heads,
        "best": best
        and {
            "head": model.primary_head,
            "split": "holdout" if config.holdout else "test",
            "epoch": int(best["epoch"]) + 1,
            "top1_error": round(100 * (1 - best[monitor]), 4),
        },
        "split": "test",
        "epoch": config.epochs,
        "steps": int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
        "seed": config.seed,
        "method": config.method,
        "dataset": config.dataset,
        "networks": list(config.networks),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "seconds_per_epoch": seconds,
        "replicas": devices.count,
        "versions": versions(),
    }
