"""Classifies image files with a head of a trained run.

    keras-ffl predict --workdir=runs/photos cat.jpg dog.png
    keras-ffl predict --workdir=runs/photos --top=1 --json photos

Each image gives a line: its path, then the likeliest classes with their
probabilities. A folder stands for its .jpeg, .jpg and .png files at any depth.
Images of another size are prepared as an exported head prepares them. One that
can't be read is named on stderr; the others follow, and the exit status is 1.
"""

import json
import os
import pathlib
import sys

import numpy as np
from absl import flags

from keras_ffl import cli, data, training
from keras_ffl.errors import InputError
from keras_ffl.evaluation import head_logits, probabilities

_WORKDIR = cli.define_workdir()
_CHECKPOINT = cli.define_checkpoint()
_HEAD = flags.DEFINE_string(
    "head", None, "Head that predicts, by default the run's main one."
)
_TOP = flags.DEFINE_integer(
    "top", 3, "Number of classes to print for each image.", lower_bound=1
)
_JSON = flags.DEFINE_bool("json", False, "Print a JSON object in each line.")

# Images that are decoded at once.
_PART = 256


def main(paths):
    """Prints the likeliest classes of every image."""
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise InputError("`predict` needs the path of an image, got none")
    model, info = training.load_run(_WORKDIR.value, _CHECKPOINT.value)
    head = _HEAD.value or model.primary_head
    model.check_head(head)
    classified = 0
    for start in range(0, len(files), _PART):
        images = _read(files[start : start + _PART], info)
        if not images:
            continue
        classified += len(images)
        pixels = data.normalize(np.stack([image for _, image in images]), info)
        rows = probabilities(model, head_logits(model, pixels)[head])
        for (file, _), row in zip(images, rows, strict=True):
            best = np.argsort(-row, kind="stable")[: _TOP.value]
            _show(file, [(info.class_names[k], float(row[k])) for k in best])
    if classified < len(files):
        sys.exit(1)


def _read(files, info):
    """A list of the files that can be read, each with its image."""
    images = []
    for file in files:
        try:
            images.append((file, data.read_images([file], info)[0]))
        except InputError as error:
            cli.complain(error)
    return images


def _files(path):
    if not path:
        raise InputError("`predict` needs the path of an image, got ''")
    path = pathlib.Path(os.path.expanduser(path))
    if not path.is_dir():
        return [path]
    photos, seen = [], set()
    for folder, inside, names in os.walk(path, True, _stop, followlinks=True):
        # Hidden ones are left out, as in a folder of training photos.
        inside[:] = sorted(name for name in inside if name[0] != ".")
        # A link may lead to a folder above it.
        if os.path.realpath(folder) in seen:
            inside[:] = names[:] = []
        seen.add(os.path.realpath(folder))
        photos += [
            pathlib.Path(folder, name)
            for name in sorted(names)
            if name[0] != "." and name.lower().endswith(data.PHOTO_SUFFIXES)
        ]
    if not photos:
        raise InputError(f"{path} holds no .jpeg, .jpg or .png file")
    return photos


def _stop(error):
    raise error


def _show(file, classes):
    if _JSON.value:
        found = [{"class": name, "probability": p} for name, p in classes]
        print(json.dumps({"image": str(file), "classes": found}))
    else:
        print(f"{file}: {', '.join(f'{name} {p:.3f}' for name, p in classes)}")
