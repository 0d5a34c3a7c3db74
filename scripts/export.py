"""Exports heads of a trained run as SavedModels.

python scripts/export.py --workdir=runs/quickstart --head=all --output=models
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags  # noqa: E402

from keras_ffl import cli  # noqa: E402
from keras_ffl.export import check_output, export_head  # noqa: E402
from keras_ffl.models import count_parameters  # noqa: E402
from keras_ffl.workdir import Workdir  # noqa: E402

_WORKDIR = cli.define_workdir()
_CHECKPOINT = cli.define_checkpoint()
_HEAD = flags.DEFINE_string(
    "head", "all", "fused, sub_1, ..., ensemble, vanilla, or all."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder; every head gets one in it.", required=True
)


def main():
    """Exports and prints what was written."""
    folder = Workdir(_WORKDIR.value)
    model = folder.load_model(_CHECKPOINT.value)
    info = folder.dataset_info()
    heads = model.heads if _HEAD.value == "all" else [_HEAD.value]
    paths = [pathlib.Path(_OUTPUT.value) / head for head in heads]
    for head, path in zip(heads, paths):
        model.check_head(head)
        check_output(path)
    for head, path in zip(heads, paths):
        export_head(model, head, info, path)
        parameters = count_parameters(model.classifier(head))
        print(f"{path}: {parameters:,} parameters")


if __name__ == "__main__":
    cli.run(main)
