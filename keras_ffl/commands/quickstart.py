"""Compares Feature Fusion Learning with the same network trained alone.

Trains both on the digits that come with scikit-learn, compares their errors,
exports every head and classifies an image with an exported model. The same
command resumes where it stopped:

    keras-ffl quickstart --workdir=runs
"""

import dataclasses
import logging
import os
import pathlib
import shutil
import sys

from absl import flags
from absl import logging as absl_logging

from keras_ffl import backend, cli, data, export, presets, training
from keras_ffl.evaluation import format_table
from keras_ffl.workdir import Workdir

# TensorFlow's own format if it is Keras' backend.
_FORMAT = "saved_model" if backend.NAME == "tensorflow" else "keras"

_WORKDIR = flags.DEFINE_string(
    "workdir", "runs", "Parent folder of both runs' folders."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of both runs.")


def _train(preset, title):
    """Trains a preset; returns its folder and the results of its heads."""
    folder = Workdir(pathlib.Path(_WORKDIR.value) / preset)
    print(f"\n=== {title}: {folder.path}", flush=True)
    run = dataclasses.replace(presets.preset(preset), seed=_SEED.value)
    return folder, training.train(run, folder.path, cli.verbosity())["heads"]


def _export(folder, heads):
    """Exports the heads that aren't exported yet; returns all paths."""
    exported = folder.path / "exported"
    suffix = export.FORMATS[_FORMAT].suffix
    paths = {head: exported / f"{head}{suffix}" for head in heads}
    missing = [head for head, path in paths.items() if not path.exists()]
    if missing:
        print(f"\n=== exporting {', '.join(missing)}", flush=True)
        # TensorFlow and absl would report every file written.
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel("WARNING")
        model, info = training.load_run(folder)
    for head in missing:
        run = training.describe_run(folder, model, head)
        export.write_head(model, head, info, exported, _FORMAT, run=run)
    return paths


def _predict(path, image, class_names):
    """Classifies an image; returns the class name and its probability."""
    ((probabilities, _),) = export.run_elsewhere([path], image[None])
    return class_names[probabilities.argmax()], probabilities.max()


def _short(path):
    """The shorter of a path's relative and absolute forms."""
    path = os.path.abspath(path)
    return min(os.path.relpath(path), path, key=len)


def _print_next_steps(folder):
    start = "keras-ffl"
    if not shutil.which(start):
        start = f"{_short(sys.executable)} -m keras_ffl_launcher"
    print(f"""
=== next steps
CIFAR-100, 20 epochs:
  {start} train --preset=cifar_small --workdir=runs/cifar_small
evaluate this run's heads again, and export one for deployment:
  {start} evaluate --workdir={folder.path}
  {start} export --workdir={folder.path} --head=sub_1 --output=models
your own network and data, in ten lines of Python: the README""")


def main():
    """Trains, compares, exports, predicts."""
    ffl, ffl_heads = _train("quickstart", "two ResNet-8 with FFL")
    vanilla, vanilla_heads = _train("quickstart_vanilla", "ResNet-8 alone")
    exported = _export(ffl, ffl_heads)

    rows = [
        [
            title,
            f"{head['top1_error']:.2f}",
            f"{head['loss']:.4f}",
            f"{head['parameters']:,}",
        ]
        for title, head in [
            *((f"FFL {name}", head) for name, head in ffl_heads.items()),
            ("the network alone", vanilla_heads["vanilla"]),
        ]
    ]
    dataset = data.load("digits")
    print(f"\n=== results on {len(dataset.y_test)} test images, last epoch")
    print(format_table(rows, ["", "top-1 error %", "loss", "parameters"]))
    curves = [run.curves for run in (ffl, vanilla) if run.curves.exists()]
    print("\ncurves:", *curves or ["none, without matplotlib"])
    sub_1 = exported["sub_1"]
    print(f"exported models, preprocessing included: {sub_1.parent}")
    name, probability = _predict(
        sub_1, dataset.x_test[0], dataset.info.class_names
    )
    print(
        f"the exported sub_1 on a test image of a {dataset.y_test[0]}: "
        f"{name} (probability {probability:.4f})"
    )
    _print_next_steps(ffl)
