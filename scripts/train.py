"""Trains a network or several networks that teach each other.

The same command on the same workdir goes on where it stopped.

    python scripts/train.py --preset=quickstart --workdir=runs/quickstart
"""

import dataclasses
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags  # noqa: E402

from keras_ffl import cli, presets, training  # noqa: E402
from keras_ffl.config import Config  # noqa: E402
from keras_ffl.evaluation import format_heads  # noqa: E402

_PRESET = flags.DEFINE_string(
    "preset", "quickstart", f"Recipe: {', '.join(presets.PRESETS)}."
)
_METHOD = flags.DEFINE_string(
    "method", None, "Training method, if another than the preset's."
)
_TEACHER = flags.DEFINE_string(
    "teacher", None, "Workdir of the run that teaches (method kd)."
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set, if another than the preset's."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of tensorflow-datasets."
)
_WORKDIR = cli.define_workdir()
_SEED = flags.DEFINE_integer("seed", None, "Seed of the run.")
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", None, "Whether the run must repeat bit by bit."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "key=value, any field of keras_ffl.config.Config; repeatable."
)


def main():
    """Trains and prints the table of all heads."""
    given = {
        "teacher": _TEACHER.value,
        "dataset": _DATASET.value,
        "data_dir": _DATA_DIR.value,
        "seed": _SEED.value,
        "deterministic": _DETERMINISTIC.value,
    }
    fields = {
        **presets.method_fields(_METHOD.value),
        **Config.parse(_SET.value),
        **{key: value for key, value in given.items() if value is not None},
    }
    run = dataclasses.replace(presets.preset(_PRESET.value), **fields)
    metrics = training.train(run, _WORKDIR.value)
    print(f"\nTest split, epoch {metrics['epoch']}:\n")
    print(format_heads(metrics["heads"]))


if __name__ == "__main__":
    cli.run(main)
