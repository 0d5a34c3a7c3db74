"""SVG charts for a page."""

import html
import io
import itertools
import re

import numpy as np

from keras_ffl.optional import matplotlib
from keras_ffl.training.curves import charts_of, draw_chart

_numbers = itertools.count(1)
_SIZE = (4.2, 3.0)  # inches; a phone's width, so that text stays readable
_SETTINGS = {
    # Text stays text: small, and in the page's font.
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_ffl",
    "font.size": 9,
    "font.family": ["sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves(history):
    """Draws charts of a run's history: every loss term and every head.

    Args:
        history: List of dicts, the rows of `history.csv`.

    Returns:
        Dict from a chart's title to its SVG, with thin dashed lines for
        training and solid ones for evaluation.
    """
    epochs = [int(row["epoch"]) + 1 for row in history]
    found = {}
    for chart in charts_of(history) if history else []:
        figure, axes = _figure()
        draw_chart(axes, epochs, chart)
        found[chart.title] = _svg(figure, f"{chart.title} over the epochs")
    return found


def reliability_diagram(table, title):
    """Draws accuracy over confidence; shades show the images per bin.

    Args:
        table: Dict from `keras_ffl.studies.analysis.reliability`.
        title: Str, title of the head.

    Returns:
        Str, SVG.
    """
    figure, axes = _figure((2.9, 2.9))
    filled = table["count"] > 0
    lower, count = table["lower"][filled], table["count"][filled]
    width = (table["upper"] - table["lower"])[filled]
    shade = 0.25 + 0.75 * count / count.max()
    colours = [(0.12, 0.38, 0.66, alpha) for alpha in shade]
    axes.bar(
        lower,
        table["accuracy"][filled],
        width,
        align="edge",
        color=colours,
        edgecolor="white",
    )
    axes.plot([0, 1], [0, 1], ":", color="#555555", lw=1)
    axes.plot(
        table["confidence"][filled],
        table["accuracy"][filled],
        "o",
        color="#c22020",
        ms=3,
    )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        aspect="equal",
    )
    return _svg(figure, f"Reliability diagram of {title}")


def gain_bars(names, gains, most=10):
    """Draws the largest and smallest gains by class.

    Args:
        names: Sequence of str, the classes.
        gains: Float array (classes,), percentage points; NaN is omitted.
        most: Int, maximum number at either end.

    Returns:
        Str, SVG.
    """
    gains = np.asarray(gains)
    order = [
        i for i in np.argsort(-gains, kind="stable") if gains[i] == gains[i]
    ]
    if len(order) > 2 * most:
        order = order[:most] + order[-most:]
    figure, axes = _figure((_SIZE[0], 0.7 + 0.2 * len(order)))
    places = np.arange(len(order))[::-1]
    colours = ["#14783c" if gains[i] >= 0 else "#c22020" for i in order]
    axes.barh(places, gains[order], color=colours, height=0.7)
    axes.set_yticks(places, [names[i] for i in order], parse_math=False)
    axes.axvline(0, color="#333333", lw=0.8)
    axes.set_xlabel("gain in accuracy (percentage points)")
    axes.grid(axis="x", alpha=0.25)
    return _svg(figure, "Gain in accuracy by class")


def confusion_image(counts, names, title):
    """Draws a confusion matrix, shaded by the fractions of each row.

    Args:
        counts: Integer array (m, m) from
            `keras_ffl.studies.analysis.confusion`.
        names: Sequence of m str.
        title: Str, title of the head.

    Returns:
        Str, SVG.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure((4.2, 4.2))
    # Square root, because off-diagonal fractions are small.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:
        numbers = range(len(names))
        axes.set_xticks(numbers, names, rotation=90, parse_math=False)
        axes.set_yticks(numbers, names, parse_math=False)
        for (i, j), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[i, j] > 0.4 else "black"
                axes.text(
                    j, i, count, ha="center", va="center", color=colour, size=7
                )
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return _svg(figure, f"Confusion matrix of {title}")


def _figure(size=_SIZE):
    with matplotlib.rc_context(_SETTINGS):
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplots()


def _svg(figure, label):
    """Renders a figure as an SVG element that adapts to its width."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None},
        )
    element = buffer.getvalue()
    element = element[element.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', element)[1]
    element = re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)
    # Ids must be unique within the page.
    salt = f"chart{next(_numbers)}_"
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{salt}", element)
    return element.replace(
        "<svg",
        f'<svg role="img" aria-label="{html.escape(label)}" '
        f'style="max-width:{float(width) * 2:.0f}px"',
        1,
    )
