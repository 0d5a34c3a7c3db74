"""Runs a table of the paper and writes it next to the paper's figures.

The same command on the same workdir resumes where it stopped; finished runs
are not repeated, and tables share runs.

    keras-ffl reproduce --table=1a --runs=3 --workdir=runs/paper
    keras-ffl reproduce --table=methods --scale --workdir=runs/scaled
"""

import sys

from absl import flags

from keras_ffl import cli
from keras_ffl.studies.tables import TABLES, reproduce

_TABLE = flags.DEFINE_string(
    "table", None, f"Table: {', '.join(TABLES)}.", required=True
)
_RUNS = flags.DEFINE_integer(
    "runs",
    1,
    "Runs per cell, with seeds 0, 1, ...",
    lower_bound=1,
    upper_bound=cli.MOST,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of all cells and reports.", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of tensorflow-datasets, or a .npz file."
)
_SCALE = flags.DEFINE_bool(
    "scale", False, "Use smaller networks and fewer epochs."
)
_EPOCHS = flags.DEFINE_integer(
    "epochs",
    None,
    "Epochs of the scaled table, 10 by default.",
    lower_bound=1,
    upper_bound=cli.MOST,
)
_JOBS = flags.DEFINE_integer(
    "jobs",
    1,
    "Cells to train at the same time, each on its share of the CPUs.",
    lower_bound=1,
    upper_bound=cli.MOST,
)
_SHARD = flags.DEFINE_string(
    "shard", None, "k/n: run part k = 1..n of the cells, for n machines."
)
_REPORT_ONLY = flags.DEFINE_bool(
    "report_only", False, "Write the report of finished runs, run nothing."
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Print the cells and an estimate of the time, run nothing."
)


def main():
    """Runs the table; exits with 1 if a cell failed, 75 if one was stopped."""
    succeeded = reproduce(
        _TABLE.value,
        _WORKDIR.value,
        runs=_RUNS.value,
        data_dir=_DATA_DIR.value,
        scale=_SCALE.value,
        epochs=_EPOCHS.value,
        jobs=_JOBS.value,
        shard=_SHARD.value,
        report_only=_REPORT_ONLY.value,
        plan_only=_PLAN.value,
        imports=cli.IMPORT.value,
    )
    if not succeeded:
        sys.exit(1)
