"""Evaluates every head of a trained run on the test split.

keras-ffl evaluate --workdir=runs/quickstart
"""

import json

from absl import flags

from keras_ffl import cli, training
from keras_ffl.evaluation import evaluate_heads, format_heads
from keras_ffl.training.progress_line import shows_bars
from keras_ffl.workdir import Workdir

_WORKDIR = cli.define_workdir()
_CHECKPOINT = cli.define_checkpoint()
_DATA_DIR = cli.define_data_dir()
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")


def main():
    """Evaluates and prints the table of all heads."""
    folder = Workdir(_WORKDIR.value)
    config = folder.config().with_data_dir(_DATA_DIR.value)
    model, _ = training.load_run(folder, _CHECKPOINT.value)
    dataset = training.load_run_data(folder, config, model)
    batches = dataset.evaluation_batches(config.eval_batch_size)
    heads = evaluate_heads(
        model,
        batches,
        dataset.y_test,
        verbose=not _JSON.value and shows_bars(cli.verbosity()),
    )
    print(json.dumps(heads, indent=2) if _JSON.value else format_heads(heads))
