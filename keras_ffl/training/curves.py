"""The training curves of a run."""

import re

from absl import logging

from keras_ffl.errors import InputError
from keras_ffl.optional import matplotlib, require
from keras_ffl.whole_files import replacing


def plot_curves(history, path, terms):
    """Plots the loss terms and the error of every head over the epochs.

    Without matplotlib it logs one line and writes nothing.

    Args:
        history: List of dicts, the rows of `history.csv`.
        path: `pathlib.Path` of the PNG file.
        terms: Names of the loss terms, a list.
    """
    try:
        require(matplotlib)
    except InputError as error:
        logging.warning("%s is not drawn: %s", path.name, error)
        return
    from matplotlib.figure import Figure

    epochs = [row["epoch"] + 1 for row in history]
    figure = Figure(figsize=(12, 4.5), layout="tight")
    left, right = figure.subplots(1, 2)
    for name in history[0]:
        values = [row[name] for row in history]
        if name in ("loss", *terms):
            left.plot(epochs, values, label=name)
        match = re.fullmatch(r"val_(?:(.*)_)?accuracy", name)
        if match:
            errors = [100 * (1 - value) for value in values]
            right.plot(epochs, errors, label=match[1] or "network")
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.set(xlabel="epoch", ylabel="top-1 error (%), evaluation")
    if max((max(line.get_ydata()) for line in right.lines), default=0) > 10:
        right.set_yscale("symlog", linthresh=1)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)
