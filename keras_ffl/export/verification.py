"""Compares exported heads, run in separate processes, with `predict`."""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from keras import ops

from keras_ffl import data
from keras_ffl.errors import InputError
from keras_ffl.evaluation import (
    classification_errors,
    format_table,
    head_logits,
)
from keras_ffl.export.exportable import check_images, check_info
from keras_ffl.export.formats import FORMATS
from keras_ffl.export.stock import other_precision

# Tolerances of a quantised head's error in percentage points, and by the other
# precision of `predict`, which a file in float32 doesn't repeat, those of a
# probability and of a tie: classes so close to each other that rounding (about
# 2e-6 between formats in float32) decides which one comes out on top.
POINTS = 1.0
TOLERANCES = {
    None: (1e-4, 1e-5),
    "float64": (1e-4, 1e-5),
    "float16": (2e-3, 2e-3),
    "bfloat16": (2e-2, 2e-2),
}
# Images that `predict` gets at once.
_PART = 1000


def run_elsewhere(paths, images, batches=(), output="probabilities"):
    """Runs exported heads in a process that can't import this package.

    Args:
        paths: Sequence of the paths of exported files or folders.
        images: uint8 images (n, h, w, channels).
        batches: Batch sizes for which to measure the latency.
        output: Name of the main output.

    Returns:
        List of tuples, one for each path: probabilities (n, classes) and a
        dict from batch size to the median time of a call in milliseconds.

    Raises:
        InputError: The process failed.
    """
    runner = pathlib.Path(__file__).with_name("runner.py")
    with tempfile.TemporaryDirectory() as folder:
        given, result = (pathlib.Path(folder) / n for n in ("x.npy", "y.npz"))
        np.save(given, images)
        sizes = ",".join(map(str, batches))
        # -I prevents imports from the working directory and PYTHONPATH.
        arguments = given, result, sizes, output, *paths
        process = subprocess.run(
            [sys.executable, "-I", runner, *arguments],
            capture_output=True,
            text=True,
        )
        if process.returncode:
            lines = process.stderr.strip().splitlines() or ["no message"]
            # An error may have several lines.
            named = [line for line in lines if re.match(r"[\w.]+Error\b", line)]
            raise InputError(
                f"{', '.join(map(str, paths))} can't be run: "
                f"{(named or lines)[-1]}"
            )
        with np.load(result) as values:
            return [_result(values, k, batches) for k in range(len(paths))]


def _result(values, k, batches):
    """The runner's results for file number `k`."""
    times = {b: float(values[f"milliseconds_{b}_{k}"]) for b in batches}
    return values[f"probabilities_{k}"], times


def verify(model, info, written, images, labels, batches=()):
    """Compares exported formats of a model's heads with `predict`.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        info: `keras_ffl.data.DatasetInfo` of its data.
        written: Dict from a key of `FORMATS` to a dict from head to the
            exported path.
        images: uint8 images (n, h, w, channels) of the test split.
        labels: Their classes (n,).
        batches: Batch sizes for which to measure the latency.

    Returns:
        List of dicts, one for each file: `format`, `head`,
        `largest_difference` of a probability, `other_class` (number of images
        with a different top class), `class_gap` (by how much `predict` at
        most prefers its own top class to the file's), `top1_error` and
        `predict_error` in percent, `bytes`, `milliseconds` (a dict by batch
        size) and `agrees`. Exact formats agree if probabilities are within
        1e-4 and top classes are the same except for ties, that is classes
        within 1e-5 in `predict`. If `predict` computes in half precision, both
        are 2e-3 (float16) or 2e-2 (bfloat16) for all formats but SavedModel,
        because these compute in float32. int8 agrees within one percentage
        point of error.

    Raises:
        InputError: `info` or `images` don't fit the model's data, or an
            exported head can't be run.
    """
    model.task.check_counts_classes("Comparisons of exported classifiers")
    check_info(model, info)
    check_images(images, info, "images")
    task = model.task
    # In parts, because normalised images take four times the memory.
    parts = [
        head_logits(model, data.normalize(images[start : start + _PART], info))
        for start in range(0, len(images), _PART)
    ]
    expected = {
        head: ops.convert_to_numpy(
            task.prediction(
                ops.convert_to_tensor(np.concatenate([p[head] for p in parts]))
            )[task.output_name]
        )
        for head in parts[0]
    }
    rows = []
    for name, paths in written.items():
        results = run_elsewhere(
            list(paths.values()), images, batches, task.output_name
        )
        for (head, path), (found, times) in zip(paths.items(), results):
            compared = _compared(found, expected[head], labels)
            precision = None
            if not FORMATS[name].keeps_precision:
                precision = other_precision(model.classifier(head))
            rows.append(
                {
                    "format": name,
                    "head": head,
                    **compared,
                    "bytes": size_on_disk(path),
                    "milliseconds": times,
                    "agrees": _agrees(
                        compared, FORMATS[name].exact, *TOLERANCES[precision]
                    ),
                }
            )
    return rows


def _agrees(compared, exact, probability, tie):
    if not exact:
        more = compared["top1_error"] - compared["predict_error"]
        return abs(more) <= POINTS
    return (
        compared["largest_difference"] <= probability
        and compared["class_gap"] <= tie
    )


def _compared(found, expected, labels):
    top = found.argmax(axis=1)
    other = top != expected.argmax(axis=1)
    gap = expected.max(axis=1) - expected[np.arange(len(top)), top]
    return {
        "largest_difference": float(np.abs(found - expected).max()),
        "other_class": int(np.sum(other)),
        "class_gap": float(gap.max()),
        "top1_error": _error(labels, found),
        "predict_error": _error(labels, expected),
    }


def _error(labels, probabilities):
    return classification_errors(labels, probabilities)["top1_error"]


def size_on_disk(path):
    """Measures an exported file, or all files in a folder.

    Args:
        path: Path of the file or folder.

    Returns:
        Int, bytes.
    """
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def format_rows(rows):
    """Formats the results of `verify` as a plain-text table.

    Args:
        rows: List of dicts from `verify`, at least one.

    Returns:
        Str of several lines.
    """
    batches = list(rows[0]["milliseconds"])
    return format_table(
        [
            [
                f"{row['head']} {row['format']}",
                f"{row['largest_difference']:.1e}",
                f"{row['other_class']}",
                f"{row['class_gap']:.1e}",
                f"{row['top1_error']:.2f}",
                f"{row['predict_error']:.2f}",
                f"{row['bytes'] / 1000:,.0f}",
                *(f"{row['milliseconds'][b]:.2f}" for b in batches),
                "yes" if row["agrees"] else "NO",
            ]
            for row in rows
        ],
        [
            "head and format",
            "largest difference",
            "other class",
            "gap",
            "error %",
            "predict's %",
            "kB",
            *(f"ms at {batch}" for batch in batches),
            "agrees",
        ],
    )
