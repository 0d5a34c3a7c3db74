"""Trains a network or several networks that teach each other.

The same command on the same workdir resumes where it stopped.

    keras-ffl train --preset=quickstart --workdir=runs/quickstart
"""

from absl import flags

from keras_ffl import cli, presets, training
from keras_ffl.backend import STRATEGIES, split_cpu
from keras_ffl.config import Config
from keras_ffl.errors import InputError

_DEFAULT_PRESET = "quickstart"
_PRESET = flags.DEFINE_string(
    "preset",
    None,
    f"Recipe, {_DEFAULT_PRESET} by default: {', '.join(presets.PRESETS)}.",
)
_METHOD = flags.DEFINE_string(
    "method",
    None,
    "Training method, by default the preset's. Its own defaults apply (dml: "
    "temperature 1 and no ramp-up, kd: no ramp-up), unless --set overrides "
    "them.",
)
_TEACHER = flags.DEFINE_string(
    "teacher", None, "Workdir of the teacher's run (method kd)."
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set, by default the preset's."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of tensorflow-datasets, a .npz file, or for imagefolder the folder "
    "that holds train and val.",
)
_VERIFY_IMAGES = flags.DEFINE_enum(
    "verify_images",
    None,
    ["no", "skip", "stop"],
    "Whether to decode every photo once before training, and to leave out "
    "those that can't be decoded (skip) or to stop with an error (stop).",
)
_STRATEGY = flags.DEFINE_string(
    "strategy",
    "auto",
    f"Devices: {', '.join(STRATEGIES)} (docs/scaling.md).",
)
_LOGICAL_CPUS = flags.DEFINE_integer(
    "logical_cpus",
    None,
    "Number of devices to split the CPU into, to try replicas.",
    upper_bound=1024,
)
_MAX_MINUTES = flags.DEFINE_float(
    "max_minutes",
    None,
    "Stop after this many minutes, with a checkpoint and exit status "
    f"{cli.UNFINISHED}, as after SIGTERM and SIGINT.",
)
_SAVE_EVERY_MINUTES = flags.DEFINE_float(
    "save_every_minutes",
    None,
    "Interval at which to save training in the middle of an epoch.",
)
_WORKDIR = cli.define_workdir()
_SEED = flags.DEFINE_integer("seed", None, "Seed of the run.")
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", None, "Make the run bitwise reproducible."
)
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "key=value, any field of keras_ffl.config.Config; repeatable. A flag of "
    "the same name is equivalent. Options that the method doesn't have are "
    "rejected.",
)


def main():
    """Trains and prints a summary of the run."""
    given = {
        "preset": _PRESET.value,
        "method": _METHOD.value,
        "teacher": _TEACHER.value,
        "dataset": _DATASET.value,
        "data_dir": _DATA_DIR.value,
        "verify_images": _VERIFY_IMAGES.value,
        "seed": _SEED.value,
        "deterministic": _DETERMINISTIC.value,
    }
    values = Config.read(_SET.value, _METHOD.value)
    for name, value in given.items():
        if value is not None and values.setdefault(name, value) != value:
            raise InputError(
                f"`{name}` is given twice: --{name}={value} and --set "
                f"{name}={values[name]}"
            )
    run = presets.preset(values.pop("preset", _DEFAULT_PRESET), **values)
    if _LOGICAL_CPUS.value is not None:
        if _STRATEGY.value not in ("mirrored", "multi_worker"):
            raise InputError(
                "`logical_cpus` needs --strategy=mirrored or multi_worker, got "
                f"--strategy={_STRATEGY.value}, which would use one of them"
            )
        split_cpu(_LOGICAL_CPUS.value)
    metrics = training.train(
        run,
        _WORKDIR.value,
        cli.verbosity(),
        strategy=_STRATEGY.value,
        max_minutes=_MAX_MINUTES.value,
        save_every_minutes=_SAVE_EVERY_MINUTES.value,
    )
    print(f"\n{training.summary(_WORKDIR.value, metrics)}")
