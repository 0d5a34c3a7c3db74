"""Writes a one-page HTML report of a trained run and compared ones.

    keras-ffl report --workdir=runs/ffl --compare=runs/vanilla

The page only needs a browser. Its numbers are also written next to it as JSON.
"""

from absl import flags

from keras_ffl import cli
from keras_ffl.studies.report import write_report

_WORKDIR = cli.define_workdir()
_COMPARE = flags.DEFINE_multi_string(
    "compare", [], "Workdir of a run to compare with; repeatable."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "HTML file to write, by default report.html in the workdir."
)
_CHECKPOINT = cli.define_checkpoint()
_DATA_DIR = cli.define_data_dir()
_SAMPLES = flags.DEFINE_integer(
    "samples", 500, "Number of images to compare maps on.", lower_bound=2
)
_PER_GROUP = flags.DEFINE_integer(
    "per_group", 4, "Pictures per group of outcomes.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all draws.", lower_bound=0)
_CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    None,
    "Text file of names to print, with a class and its name in each line.",
)


def main():
    """Writes the report and prints its path."""
    path, _ = write_report(
        _WORKDIR.value,
        _OUTPUT.value,
        compare=_COMPARE.value,
        checkpoint=_CHECKPOINT.value,
        data_dir=_DATA_DIR.value,
        samples=_SAMPLES.value,
        per_group=_PER_GROUP.value,
        seed=_SEED.value,
        class_names=_CLASS_NAMES.value,
    )
    print(path)
