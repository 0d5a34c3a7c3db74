"""Evaluates every head of a trained run on the test split.

python scripts/evaluate.py --workdir=runs/quickstart
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags  # noqa: E402

from keras_ffl import cli, data  # noqa: E402
from keras_ffl.evaluation import evaluate_heads, format_heads  # noqa: E402
from keras_ffl.workdir import Workdir  # noqa: E402

_WORKDIR = cli.define_workdir()
_CHECKPOINT = cli.define_checkpoint()
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of tensorflow-datasets, if it has moved."
)
_JSON = flags.DEFINE_bool("json", False, "Whether to print JSON.")


def main():
    """Evaluates and prints the table of all heads."""
    folder = Workdir(_WORKDIR.value)
    config = folder.config()
    model = folder.load_model(_CHECKPOINT.value)
    dataset = data.load(config.dataset, _DATA_DIR.value or config.data_dir)
    batches = data.evaluation_batches(
        dataset.x_test, dataset.y_test, dataset.info, config.eval_batch_size
    )
    heads = evaluate_heads(
        model, batches, dataset.y_test, verbose=not _JSON.value
    )
    print(json.dumps(heads, indent=2) if _JSON.value else format_heads(heads))


if __name__ == "__main__":
    cli.run(main)
