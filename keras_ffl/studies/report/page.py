"""A self-contained page about a run, without scripts or external files."""

import base64
import datetime
import io
import os
import pathlib
import platform

import numpy as np

from keras_ffl.export.cards import versions
from keras_ffl.optional import jinja2
from keras_ffl.studies.pictures.cam_figure import caption
from keras_ffl.studies.pictures.overlay import enlarge, overlay


def render(context):
    """Renders the page.

    Args:
        context: Dict of the values that `report.html.jinja` shows.

    Returns:
        Str, HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_ffl", "studies/report"),
        # Class names come from the user.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment.get_template("report.html.jinja").render(context)


def cards(images, views, groups, class_names, labels):
    """Makes the page's images with the maps of all heads below.

    Args:
        images, views, groups, class_names, labels: As in
            `keras_ffl.studies.pictures.plot_grad_cam`.

    Returns:
        Dict from a group's title to a list of columns, each a list of dicts
        of `row`, `picture` (a data URI), `name`, `rest` and `colour`.
    """
    images = enlarge(images, 120)
    rows = [("input", images, None)] + [
        (view.title, overlay(images, view.maps), view) for view in views
    ]

    def cell(row, index):
        title, pictures, view = row
        name, rest, colour = caption(view, index, labels, class_names)
        return {
            "row": title,
            "picture": _data_uri(pictures[index]),
            "name": name,
            "rest": rest,
            "colour": colour,
        }

    return {
        title: [[cell(row, index) for row in rows] for index in indices]
        for title, indices in groups.items()
    }


def _data_uri(picture):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{code}"


def matrix(pairs):
    """Arranges a symmetric measure as the rows of a table.

    Args:
        pairs: Dict from a pair of names to a number or a dict with a `mean`.

    Returns:
        Dict of `names` and `rows`, each a list of dicts of `text` and
        `shade` (a number in [0, 1]); empty for missing pairs.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))

    def cell(one, two):
        value = pairs.get((one, two), pairs.get((two, one)))
        if value is None:
            return {"text": "", "shade": 0}
        mean = value["mean"] if isinstance(value, dict) else value
        if mean != mean:
            return {"text": "–", "shade": 0}
        return {"text": f"{mean:.3f}", "shade": round(max(mean, 0), 3)}

    return {
        "names": names,
        "rows": [(one, [cell(one, two) for two in names]) for one in names],
    }


def environment():
    """The environment that made the page, a dict from str to str."""
    return {
        "date": datetime.date.today().isoformat(),
        **versions("matplotlib"),
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }


def _processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1] for line in lines if "model name" in line]
    return models[0].strip() if models else platform.processor() or "unknown"


def plain(value):
    """Makes a value JSON-compatible; pairs become "a | b", NaN None."""
    if isinstance(value, dict):
        return {
            " | ".join(key) if isinstance(key, tuple) else key: plain(each)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def _number(value, digits=2):
    if value is None or value != value:
        return "–"
    return f"{value:,.{digits}f}"
