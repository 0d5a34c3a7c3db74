"""The curves of a run: errors, loss terms and schedules over the epochs."""

import dataclasses
import math
import re

from absl import logging

from keras_ffl.errors import InputError
from keras_ffl.optional import matplotlib, require
from keras_ffl.whole_files import replacing

_SCHEDULES = ("learning_rate", "distillation_weight")
_TICKS_FROM = 1e-12


@dataclasses.dataclass(frozen=True)
class Chart:
    """Some columns of a history that are drawn together.

    Attributes:
        title: Str.
        series: Dict from a line's name to a list of one or two columns, lists
            of a number for each epoch: training, then evaluation.
        logarithmic: Bool, whether the axis may be logarithmic.
        unit: Str, what follows a value.
    """

    title: str
    series: dict
    logarithmic: bool = True
    unit: str = ""


def charts_of(history):
    """Arranges a run's history in charts: every head, term and schedule.

    Args:
        history: List of dicts, the rows of `history.csv`, one or more.

    Returns:
        List of `Chart`, none of them empty.
    """
    names = [
        name
        for name in history[0]
        if not name.startswith("val_") and name != "epoch"
    ]
    accuracies = [n for n in names if re.fullmatch(r"(.*_)?accuracy", n)]
    entropies = [n for n in names if n.startswith("ce_")]
    schedules = [n for n in names if n in _SCHEDULES]
    known = ("loss", *accuracies, *entropies, *schedules)
    others = [n for n in names if n not in known]
    errors = {
        name.removesuffix("accuracy").rstrip("_") or "error": [
            [100 * (1 - value) for value in column]
            for column in _columns(history, name)
        ]
        for name in accuracies
    }

    def terms(chosen):
        return {name: _columns(history, name) for name in chosen}

    charts = [
        Chart("Top-1 error (%)", errors, unit=" %"),
        Chart("Cross-entropy", terms(entropies)),
        Chart("Distillation terms", terms(others)),
        Chart("Total loss", terms(n for n in names if n == "loss")),
        *(
            Chart(
                {"distillation_weight": "Ramp-up w(t)"}.get(name)
                or name.replace("_", " ").capitalize(),
                {name: _columns(history, name)[:1]},
                name == "learning_rate",
            )
            for name in schedules
        ),
    ]
    return [chart for chart in charts if chart.series]


def draw_chart(axes, epochs, chart):
    """Draws a chart: dashed for training, solid for evaluation.

    The legend has the last value of every line. A logarithmic axis that
    values of 0 need, too, is linear below the smallest other value.

    Args:
        axes: `matplotlib.axes.Axes`.
        epochs: List of int, from 1.
        chart: `Chart`.
    """
    from matplotlib.ticker import MaxNLocator

    marker = "o" if len(epochs) < 3 else None
    for number, (name, columns) in enumerate(chart.series.items()):
        colour = f"C{number}"
        if len(columns) > 1:
            axes.plot(epochs, columns[0], "--", color=colour, lw=0.9, alpha=0.7)
        digits = ".2f" if chart.unit else ".3g"
        label = f"{name}: {columns[-1][-1]:{digits}}{chart.unit}"
        axes.plot(
            epochs,
            columns[-1],
            marker=marker,
            color=colour,
            label=label,
            lw=1.6,
        )
    values = [
        v for columns in chart.series.values() for c in columns for v in c
    ]
    _scale(axes, values, chart.logarithmic)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _columns(history, name):
    """A column's values in training and, if present, evaluation."""
    columns = [name, f"val_{name}"]
    return [
        [row[column] for row in history]
        for column in columns
        if column in history[0]
    ]


def _scale(axes, values, logarithmic):
    """Sets the scale of an axis of numbers >= 0, and ticks that show it."""
    from matplotlib.ticker import FixedLocator, NullLocator

    values = [value for value in values if math.isfinite(value)]
    positive = [value for value in values if value > _TICKS_FROM]
    if not positive or min(values) < 0:
        return
    top, low = max(positive), min(positive)
    if not logarithmic or top < 10 * low:
        if not logarithmic or top == min(values):
            axes.set_ylim(0, 1.05 * top)
        return
    ticks = _ticks(low, top)
    if low == min(values):
        axes.set_yscale("log")
        axes.set_ylim(0.95 * ticks[0], 1.1 * top)
    else:
        # Zero has no logarithm: the part below the first tick is linear.
        axes.set_yscale("symlog", linthresh=ticks[0], linscale=0.4)
        axes.set_ylim(0, 1.1 * top)
        ticks = [0, *ticks]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _ticks(low, top):
    """Ticks 1, 2 and 5 times powers of ten around a range of numbers > 0."""
    powers = range(-12, 13)
    every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max((each for each in every if each <= low), default=every[0])
    ticks = [each for each in every if first <= each <= 1.1 * top]
    if len(ticks) > 10:  # several powers of ten
        ticks = [each for each in ticks if f"{each:e}"[0] == "1"] or ticks
    return ticks


def plot_curves(history, path, held_out=False):
    """Plots errors, loss terms and schedules over the epochs.

    Without matplotlib it logs one line and writes nothing.

    Args:
        history: List of dicts, the rows of `history.csv`, one or more.
        path: `pathlib.Path` of the PNG file.
        held_out: Bool, whether the evaluation was on held-out images of the
            training split.
    """
    try:
        require(matplotlib)
    except InputError as error:
        logging.warning("%s is not drawn: %s", path.name, error)
        return
    from matplotlib.figure import Figure

    epochs = [int(row["epoch"]) + 1 for row in history]
    charts = charts_of(history)
    rows = -(-len(charts) // 3)
    figure = Figure(figsize=(14, 0.6 + 4 * rows), layout="constrained")
    every = figure.subplots(rows, 3, squeeze=False).flat
    for axes, chart in zip(every, charts):
        draw_chart(axes, epochs, chart)
        axes.set_title(chart.title)
    for axes in list(every)[len(charts) :]:
        axes.set_axis_off()
    where = " (held-out images)" if held_out else ""
    figure.suptitle(
        f"solid: evaluation{where}, dashed: training (mean of an epoch)"
    )
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)
