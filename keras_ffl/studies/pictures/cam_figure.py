"""The paper's figure of Grad-CAM maps: columns of images, rows of heads."""

import collections
import pathlib
import textwrap

import numpy as np

from keras_ffl.optional import matplotlib, require
from keras_ffl.studies.pictures.overlay import enlarge, overlay
from keras_ffl.whole_files import replacing

RIGHT, WRONG, UNKNOWN = "#14783c", "#c22020", "#555555"
_CELL = 1.45  # inches
_CAPTION = 0.42
_LABELS = 1.25
_GAP = 0.22
_HEADER = 0.34


def class_label(name, width=16):
    """Shortens a class name to fit under a picture.

    Args:
        name: Str; only the first of ImageNet's synonyms is used.
        width: Int, maximum number of characters.

    Returns:
        Str.
    """
    first = name.split(",")[0].replace("_", " ").strip()
    short = textwrap.shorten(first, width, placeholder="…")
    # A first word that is too long leaves nothing but the placeholder.
    return first[: width - 1] + "…" if short == "…" else short


def class_labels(names, width=16):
    """Shortens class names as `class_label` does.

    Args:
        names: Sequence of str.
        width: Int, as in `class_label`.

    Returns:
        List of str; equal ones are followed by the numbers of their classes.
    """
    labels = [class_label(name, width) for name in names]
    counts = collections.Counter(labels)
    return [
        label if counts[label] == 1 else f"{label} #{number}"
        for number, label in enumerate(labels)
    ]


def plot_grad_cam(
    images, views, groups, class_names, path, labels=None, dpi=100
):
    """Draws images and, below each, what every head looks at.

    The predicted class and its probability are printed under each map: in
    green with a tick if right, in red with a cross if wrong, in grey if the
    true class is unknown.

    Args:
        images: uint8 array (n, h, w, channels), shown as by `enlarge`.
        views: List of `keras_ffl.studies.pictures.views.View` of these images,
            one per row.
        groups: Dict from title to the indices of the group's images, columns
            from left to right.
        class_names: Sequence of str.
        path: Path of the picture; its suffix determines the format (png, jpg,
            svg, pdf).
        labels: Integers (n,), the true classes, -1 for an unknown one, or
            None if all are unknown.
        dpi: Int, dots per inch of pixel formats. A cell is 1.4 inches wide.

    Raises:
        InputError: matplotlib is not installed.
    """
    require(matplotlib)
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    images = enlarge(images, 160)
    labels = np.full(len(images), -1) if labels is None else labels
    columns = sum(len(indices) for indices in groups.values())
    width = _LABELS + columns * _CELL + _GAP * (len(groups) - 1) + 0.1
    height = _HEADER + (len(views) + 1) * (_CELL + _CAPTION)
    figure = Figure(figsize=(width, height))
    rows = [("input", images, None)] + [
        (view.title, overlay(images, view.maps), view) for view in views
    ]

    def place(left, top, right, bottom):
        """Converts inches from the upper left corner to figure fractions."""
        return (
            left / width,
            1 - bottom / height,
            (right - left) / width,
            (bottom - top) / height,
        )

    for row, (title, _, _) in enumerate(rows):
        top = _HEADER + row * (_CELL + _CAPTION)
        figure.text(
            (_LABELS - 0.1) / width,
            1 - (top + _CELL / 2) / height,
            textwrap.fill(title, 12),
            ha="right",
            va="center",
            weight="bold",
            size=11,
            parse_math=False,
        )
    left = _LABELS
    for title, indices in groups.items():
        span = len(indices) * _CELL
        figure.text(
            (left + span / 2) / width,
            1 - 0.6 * _HEADER / height,
            title,
            ha="center",
            va="center",
            weight="bold",
            size=11,
            parse_math=False,
        )
        line = [1 - 0.95 * _HEADER / height] * 2
        ends = [(left + 0.04) / width, (left + span - 0.04) / width]
        figure.add_artist(Line2D(ends, line, color="#888888", linewidth=1))
        for index in indices:
            for row, (_, pictures, view) in enumerate(rows):
                top = _HEADER + row * (_CELL + _CAPTION) + 0.05
                box = place(
                    left + 0.04, top, left + _CELL - 0.04, top + _CELL - 0.08
                )
                axes = figure.add_axes(box)
                _cell(axes, pictures[index], view, index, labels, class_names)
            left += _CELL
        left += _GAP
    with replacing(pathlib.Path(path)) as unfinished:
        figure.savefig(unfinished, dpi=dpi)


def caption(view, index, labels, class_names):
    """The caption of a map.

    Args:
        view: `View`, or None for the image itself.
        index: Int, index of the image.
        labels: Integers (n,), the true classes, -1 for an unknown one.
        class_names: Sequence of str.

    Returns:
        Tuple of the class's label, the text after it (a mark and the
        probability; empty for an image), and the colour.
    """
    label, short = labels[index], class_labels(class_names)
    if view is None:
        return short[label] if label >= 0 else "", "", "black"
    name = short[view.predicted[index]]
    percent = f"{100 * view.probability[index]:.0f} %"
    if label < 0:
        return name, percent, UNKNOWN
    right = view.predicted[index] == label
    return name, f"{'✓' if right else '✗'} {percent}", RIGHT if right else WRONG


def _cell(axes, picture, view, index, labels, class_names):
    name, rest, colour = caption(view, index, labels, class_names)
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=0.5 if view is None else 2.5)
    axes.set_xlabel(
        f"{name}\n{rest}" if rest else name,
        color=colour,
        size=8.5,
        labelpad=3,
        linespacing=1.1,
        weight="bold" if view is None else "normal",
        parse_math=False,
    )
