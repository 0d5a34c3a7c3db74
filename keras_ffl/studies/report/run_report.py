"""The one-page report of a run."""

import json
import pathlib

import numpy as np

from keras_ffl import data, training
from keras_ffl.errors import InputError
from keras_ffl.optional import jinja2, matplotlib, require
from keras_ffl.studies.analysis import confusion, most_confused, per_class_gain
from keras_ffl.studies.pictures.cam_figure import class_labels
from keras_ffl.studies.pictures.grad_cam import has_map
from keras_ffl.studies.pictures.views import drawn, outcome_groups, view
from keras_ffl.studies.report import charts, page
from keras_ffl.studies.report.measures import (
    ask,
    between_heads,
    likeness,
    reliability_tables,
    shared_confidence,
)
from keras_ffl.studies.report.names import readable_names
from keras_ffl.studies.report.run_figure import (
    group_names,
    renumbered,
)
from keras_ffl.studies.report.runs import open_runs, views_to_show, with_maps
from keras_ffl.whole_files import check_folder, write_whole

# Names of a run's own files, without their suffix json.
_RUN_FILES = "config", "dataset", "metrics"


def write_report(
    workdir,
    output=None,
    compare=(),
    checkpoint="last",
    data_dir=None,
    samples=500,
    per_group=4,
    seed=0,
    class_names=None,
):
    """Writes the report of a run as one self-contained HTML file.

    Its numbers are also written next to it, with the suffix json.

    Args:
        workdir: Path of the run's folder.
        output: Path of the file, its suffix html or htm. None for
            `report.html` in the run's folder.
        compare: Paths of other runs' folders.
        checkpoint: "last" or "best".
        data_dir: Folder of the data, if it has moved.
        samples: Int >= 2, number of random images to compare maps on.
        per_group: Int >= 1, pictures per group of outcomes.
        seed: Int, seed of all draws.
        class_names: Path of a file of names to print, see
            `keras_ffl.studies.report.names.readable_names`.

    Returns:
        Tuple of the `pathlib.Path` of the page and a dict, the numbers.

    Raises:
        InputError: As in `keras_ffl.studies.report.runs.open_runs` and
            `readable_names`, the output can't be written, or matplotlib or
            jinja2 is not installed.
    """
    require(matplotlib, jinja2)
    path = pathlib.Path(output or pathlib.Path(workdir) / "report.html")
    _check_output(path)
    runs = open_runs(workdir, compare, checkpoint, data_dir)
    check_folder(path.parent, "output")
    names = readable_names(runs[0].info, class_names)
    run = runs[0]
    dataset = training.load_run_data(run.folder, run.config, run.model)
    answers = ask(runs, dataset)
    order = np.random.default_rng(seed).permutation(len(answers.y))
    chosen = np.sort(order[:samples])
    images = data.normalize(dataset.test_images(chosen), runs[0].info)
    alike = likeness(runs, answers, images, answers.y[chosen])
    shown = views_to_show(runs)
    titles = [title for *_, title in shown]
    confidence, right_images = shared_confidence(answers, titles)
    means = {name: between_heads(pairs, runs) for name, pairs in alike.items()}
    gains = _gains(answers, shown, runs)
    # Printed names may repeat, as two of ImageNet's do.
    keys = names if len(set(names)) == len(names) else runs[0].info.class_names
    numbers = {
        "workdir": runs[0].folder.name,
        "compare": [run.folder.name for run in runs[1:]],
        "images": len(answers.y),
        "samples": len(images),
        "heads": answers.heads,
        "likeness": alike,
        "likeness_means": means,
        "right_images": right_images,
        "right_confidence": confidence,
        "gain_by_class": {
            name: dict(zip(keys, gain)) for name, gain in gains.items()
        },
    }
    short = class_labels(names, 22)
    main = titles[0]
    counts = confusion(answers.y, answers.predicted(main), len(names))
    groups = _groups(answers, shown, runs)
    context = {
        **numbers,
        "title": f"{runs[0].name} on {runs[0].info.name}: "
        f"{', '.join(runs[0].config.networks)}",
        "subtitle": _subtitle(runs, checkpoint),
        "result": _result(answers, titles),
        "findings": _findings(answers, means, titles, shown, runs),
        "main": main,
        "seed": seed,
        "without_maps": [
            title for run, head, title in shown if not has_map(run.model, head)
        ],
        "cards": _cards(runs, shown, dataset, groups, names, per_group, seed),
        "group_sizes": {title: len(each) for title, each in groups.items()},
        "likeness": {name: page.matrix(each) for name, each in alike.items()},
        "reliability": {
            f"{title}: ECE {100 * answers.heads[title]['ece']:.2f} %": (
                charts.reliability_diagram(table, title)
            )
            for title, table in reliability_tables(answers).items()
        },
        "gains": {
            name: {
                "chart": charts.gain_bars(short, gain),
                "text": _gain_text(gain),
            }
            for name, gain in gains.items()
        },
        "confusion": charts.confusion_image(counts, short, main),
        "confused": [
            (short[i], short[j], share) for i, j, share in most_confused(counts)
        ],
        "held_out": [run.name for run in runs if run.config.holdout],
        "curves": {
            run.name: charts.curves(run.folder.read_history()) for run in runs
        },
        "configurations": {run.name: _configuration(run) for run in runs},
        "environments": {
            **{f"Training of {run.name}": _training(run) for run in runs},
            "This page": page.environment(),
        },
    }
    text, numbers = page.render(context), page.plain(numbers)
    try:
        write_whole(path, text)
        write_whole(
            path.with_suffix(".json"), json.dumps(numbers, indent=2) + "\n"
        )
    except OSError as error:
        raise InputError(
            f"`output` {path} can't be written: {error.strerror}"
        ) from error
    return path, numbers


def _check_output(path):
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"`output` must end with .html or .htm, got {path}")
    if path.is_dir():
        raise InputError(f"`output` must be a file, got the folder {path}")
    if path.stem in _RUN_FILES:
        raise InputError(
            f"`output` {path} must have another name: its numbers are written "
            f"to {path.stem}.json, the name of a run's own file"
        )
    numbers = path.with_suffix(".json")
    if numbers.is_file() and b'"likeness_means"' not in numbers.read_bytes():
        raise InputError(
            f"`output` {path} must have another name: its numbers are written "
            f"to {numbers}, which holds something else"
        )


# ----- parts of the page ------------------------------------------------------


def _subtitle(runs, checkpoint):
    parts = [f"{run.folder.name}, seed {run.config.seed}" for run in runs]
    text = f"Run {parts[0]}"
    if parts[1:]:
        text += f"; compared with {'; '.join(parts[1:])}, on the same images"
    return f"{text}. Checkpoint: {checkpoint} epoch."


def _result(answers, titles):
    """The errors that the page opens with, the main head's first."""
    main = titles[0]
    error = answers.heads[main]["top1_error"]

    def note(title):
        head = answers.heads[title]
        parameters = f"{head['parameters']:,} parameters"
        if title == main:
            return f"top-1 error, {parameters}"
        return f"{head['top1_error'] - error:+.2f} points, {parameters}"

    return [
        {
            "name": title,
            "error": answers.heads[title]["top1_error"],
            "note": note(title),
        }
        for title in titles
    ]


def _findings(answers, means, titles, shown, runs):
    """Sentences with the main results, and with those on the similarity."""
    main = titles[0]
    error = answers.heads[main]["top1_error"]
    result = []
    for run, _, title in shown:
        if run is not runs[0]:
            other = answers.heads[title]["top1_error"]
            result.append(
                f"{main} makes {abs(other - error):.2f} points "
                f"{'fewer' if error <= other else 'more'} errors than {title}."
            )
    alike = []
    for name, words in (
        ("map_correlation", "Correlation of Grad-CAM maps (true class)"),
        ("cka", "CKA of feature maps"),
        ("agreement", "Same prediction"),
    ):
        if means[name]:
            values = ", ".join(
                f"{who} {value:.3f}" for who, value in means[name].items()
            )
            alike.append(f"{words}: {values}.")
    return {"result": result, "likeness": alike}


def _gains(answers, shown, runs):
    """Gains by class of the main head over each compared run."""
    main = shown[0][2]
    classes = runs[0].info.num_classes
    return {
        f"Gain of {main} over {title}": per_class_gain(
            answers.y,
            answers.predicted(main),
            answers.predicted(title),
            classes,
        )
        for run, _, title in shown
        if run is not runs[0]
    }


def _gain_text(gain):
    better, worse, equal = (
        np.sum(each) for each in (gain > 0, gain < 0, gain == 0)
    )
    unknown = np.sum(np.isnan(gain))
    return (
        f"{better} classes are better, {worse} worse, {equal} equal"
        f"{f', {unknown} without test images' if unknown else ''}; mean "
        f"{np.nanmean(gain):+.2f} points."
    )


def _groups(answers, shown, runs):
    own = [answers.right(title) for run, _, title in shown if run is runs[0]]
    others = [
        answers.right(title) for run, _, title in shown if run is not runs[0]
    ]
    return outcome_groups(
        own, np.reshape(others, (-1, len(answers.y))), group_names(shown)
    )


def _cards(runs, shown, dataset, groups, names, per_group, seed):
    chosen = drawn(groups, per_group, seed)
    if not chosen:
        return {}
    numbers = np.concatenate(list(chosen.values()))
    pixels = dataset.test_images(numbers)
    images = data.normalize(pixels, runs[0].info)
    views = [
        view(run.model, head, images, title)
        for run, head, title in with_maps(shown)
    ]
    return page.cards(
        pixels,
        views,
        renumbered(chosen),
        names,
        dataset.y_test[numbers],
    )


def _configuration(run):
    """The configuration's fields as text."""
    return {
        key: ", ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in run.config.to_dict().items()
    }


def _training(run):
    """The training environment recorded in the run's results."""
    if not run.folder.metrics.exists():
        return {"results": "none yet, the run is not finished"}
    try:
        metrics = run.folder.read_metrics()
    except InputError as error:
        return {"results": str(error)}
    seconds = metrics.get("seconds_per_epoch")
    known = {
        "seconds per epoch": seconds and round(seconds, 1),
        "replicas": metrics.get("replicas"),
        "steps": metrics.get("steps"),
        **metrics.get("versions", {}),
    }
    return {key: value for key, value in known.items() if value is not None}
