"""The curves of a run: which columns, and axes that can be read."""

import csv
import math
import pathlib

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_ffl.training.curves import Chart, charts_of, draw_chart, plot_curves

CELLS = pathlib.Path(__file__).parents[2] / "docs/studies/methods_8_epochs"


def drawn(columns, logarithmic=True, unit=" %"):
    axes = Figure().subplots()
    epochs = range(1, 1 + len(columns[-1]))
    draw_chart(axes, epochs, Chart("", {"fused": columns}, logarithmic, unit))
    axes.figure.draw_without_rendering()
    return axes


def ticks(axis):
    """The ticks inside the axis that have a label, by what it says."""
    low, high = sorted(axis.get_view_interval())
    return {
        float(label.get_text().replace("\N{MINUS SIGN}", "-")): place
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels())
        if label.get_text() and low <= place <= high
    }


@pytest.mark.parametrize("last", [[0.28, 0.0, 0.28], [0.28, 0.56, 0.28]])
def test_an_error_reads_as_what_it_is(last):
    axes = drawn([[90.0, 40, 9, *last]])
    labels = ticks(axes.yaxis)
    assert (0.0 in labels) == (0.0 in last)
    # As a reader does it: between the labelled ticks around the point.
    low, high = 0.2, 0.5
    at = {v: axes.transData.transform((1, v))[1] for v in (0.28, low, high)}
    share = (at[0.28] - at[low]) / (at[high] - at[low])
    assert low * (high / low) ** share == pytest.approx(0.28, rel=1e-6)
    assert labels[low] == low and labels[high] == high
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "fused: 0.28 %"
    ]


def test_every_value_is_inside_the_axes():
    for column in (
        [0.0, 0.0],
        [0.0, 0.28],
        [50.0, 40.0],
        [1e-9, 1e3, 0],
        [1e-14, 1e-20],
        [2.0, math.inf, 1.0],
    ):
        low, high = drawn([column]).get_ylim()
        finite = [value for value in column if math.isfinite(value)]
        assert low <= min(finite) and max(finite) <= high


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 300])
def test_epochs_are_whole(epochs):
    axes = drawn([np.linspace(0.9, 0.3, epochs)])
    assert all(place == round(place) for place in ticks(axes.xaxis).values())
    assert ticks(axes.xaxis)


@pytest.mark.parametrize(
    "cell", sorted(CELLS.glob("*_seed0")), ids=lambda cell: cell.name
)
def test_every_column_of_every_method_is_in_a_chart(cell):
    with (cell / "history.csv").open() as file:
        rows = [
            {k: float(v) for k, v in r.items()} for r in csv.DictReader(file)
        ]
    charts = charts_of(rows)
    shown = [
        name if chart.unit == "" else f"{name}_accuracy".removeprefix("error_")
        for chart in charts
        for name in chart.series
    ]
    names = {n for n in rows[0] if not n.startswith("val_")} - {"epoch"}
    assert sorted(shown) == sorted(names)
    (errors,) = [c for c in charts if c.title == "Top-1 error (%)"]
    head, columns = next(iter(errors.series.items()))
    name = "accuracy" if head == "error" else f"{head}_accuracy"
    accuracies = [row[f"val_{name}"] for row in rows]
    np.testing.assert_allclose(columns[1], 100 - 100 * np.array(accuracies))


def test_a_file(tmp_path):
    plot_curves(
        [{"epoch": 0.0, "loss": 1.0, "accuracy": 1.0}], tmp_path / "c.png"
    )
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
