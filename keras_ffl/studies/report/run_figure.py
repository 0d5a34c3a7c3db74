"""The Grad-CAM figure of a run."""

import pathlib

import numpy as np
from absl import logging

from keras_ffl import data, training
from keras_ffl.errors import InputError, printable
from keras_ffl.evaluation import head_logits
from keras_ffl.optional import matplotlib, require
from keras_ffl.studies.pictures.cam_figure import plot_grad_cam
from keras_ffl.studies.pictures.grad_cam import grad_cam
from keras_ffl.studies.pictures.views import drawn, outcome_groups, view
from keras_ffl.studies.report.names import class_number, readable_names
from keras_ffl.studies.report.runs import open_runs, views_to_show, with_maps
from keras_ffl.whole_files import check_folder

_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".pdf", ".webp")


def write_figure(
    workdir,
    output,
    compare=(),
    files=(),
    checkpoint="last",
    data_dir=None,
    per_group=3,
    seed=0,
    method=grad_cam,
    layer=None,
    explained=None,
    class_names=None,
    dpi=100,
):
    """Draws the Grad-CAM figure of a run, as in the paper.

    Args:
        workdir: Path of the run's folder.
        output: Path of the picture, its suffix png, jpg, svg, pdf or webp.
        compare: Paths of other runs' folders, whose main heads get a row.
        files: Paths of image files to show instead of the test split. A
            file's class is the name of its folder, if that is one.
        checkpoint: "last" or "best".
        data_dir: Folder of the data, if it has moved.
        per_group: Int >= 1, images per group of outcomes.
        seed: Int, seed of the draw within the groups.
        method: `grad_cam` or `grad_cam_plus_plus`.
        layer: Name of the layer to look at, None for each head's last map.
        explained: Name or number of the class to explain, None for each
            head's predicted class.
        class_names: Path of a file of names to print, see
            `keras_ffl.studies.report.names.readable_names`.
        dpi: Int, dots per inch.

    Returns:
        Dict from the title of a group to the indices of its images in the
        test split, or in `files`.

    Raises:
        InputError: As in `open_runs`, `readable_names`, `grad_cam` and
            `keras_ffl.data.read_images`, the output can't be written, or
            matplotlib is not installed.
    """
    require(matplotlib)
    output = pathlib.Path(output)
    if output.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"`output` must end with one of {', '.join(_SUFFIXES)}, got "
            f"{output}"
        )
    runs = open_runs(workdir, compare, checkpoint, data_dir)
    check_folder(output.parent, "output")
    info = runs[0].info
    names = readable_names(info, class_names)
    explained = class_number(explained, info, names)
    shown = views_to_show(runs)
    # If none has a map, `grad_cam` says so.
    rows = (not layer and with_maps(shown)) or shown
    for each in shown:
        if each not in rows:
            logging.warning("%s has no feature map and no row", each[-1])
    if files:
        pixels = data.read_images(files, info)
        labels = _labels_of_folders(files, info)
        groups = {"images": np.arange(len(files))}
        numbers = groups
    else:
        run = runs[0]
        dataset = training.load_run_data(run.folder, run.config, run.model)
        numbers = _drawn_groups(runs, shown, dataset, per_group, seed)
        if not numbers:
            raise InputError(
                "`workdir` must have test images that all heads shown get "
                "right or wrong, got none; name `files` to show"
            )
        chosen = np.concatenate(list(numbers.values()))
        pixels, labels = dataset.test_images(chosen), dataset.y_test[chosen]
        groups = renumbered(numbers)
    of = "" if explained is None else f": maps of {names[explained]}"
    images = data.normalize(pixels, info)
    views = [
        view(run.model, head, images, f"{title}{of}", explained, layer, method)
        for run, head, title in rows
    ]
    plot_grad_cam(
        pixels,
        views,
        groups,
        names,
        output,
        labels,
        dpi,
    )
    return numbers


def renumbered(groups):
    """Renumbers groups by positions in the concatenation of their members.

    Args:
        groups: Dict from title to integers.

    Returns:
        Dict from title to integers, 0, 1, ... across all groups.
    """
    ends = np.cumsum([len(indices) for indices in groups.values()])
    return {
        title: np.arange(end - len(indices), end)
        for (title, indices), end in zip(groups.items(), ends)
    }


def _drawn_groups(runs, shown, dataset, per_group, seed):
    """Draws test images of each outcome, a dict from title to indices."""
    logits = {}
    for run in runs:
        batches = dataset.evaluation_batches(run.config.eval_batch_size)
        logits[run.name] = head_logits(run.model, batches)
    right = {
        (run.name, head): logits[run.name][head].argmax(axis=1)
        == dataset.y_test
        for run, head, _ in shown
    }
    own = [right[key] for key in right if key[0] == runs[0].name]
    others = [right[key] for key in right if key[0] != runs[0].name]
    groups = outcome_groups(
        own,
        np.reshape(others, (-1, len(dataset.y_test))),
        group_names(shown),
    )
    return drawn(groups, per_group, seed)


def group_names(shown):
    """The names used in titles of groups of outcomes.

    Args:
        shown: List of `(run, head, title)` from `views_to_show`.

    Returns:
        Pair of str: the run (or its main head if there are no others), and the
        compared ones.
    """
    run, _, title = shown[0]
    others = [each.name for each, _, _ in shown if each is not run]
    if not others:
        return title, "another"
    own = run.name.upper() if run.name == "ffl" else run.name
    return own, others[0] if len(others) == 1 else "all others"


def _labels_of_folders(files, info):
    """The classes named by files' folders, -1 for none."""
    known = {name: number for number, name in enumerate(info.class_names)}
    parents = [pathlib.Path(path).resolve().parent.name for path in files]
    return np.array([known.get(printable(parent), -1) for parent in parents])
