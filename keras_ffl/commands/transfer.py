r"""Tests trained features on another data set by probe and fine-tuning.

keras-ffl transfer --workdir=runs/ffl --compare=runs/vanilla \
    --dataset=digits --output=transfer_digits.json
"""

import dataclasses
import json
import pathlib

from absl import flags

from keras_ffl import cli
from keras_ffl.errors import InputError
from keras_ffl.studies import transfer
from keras_ffl.training import load_run
from keras_ffl.whole_files import check_folder, write_whole
from keras_ffl.workdir import Workdir

_WORKDIR = flags.DEFINE_list(
    "workdir",
    None,
    "Folders of runs, separated by commas.",
    required=True,
    allow_overwrite=False,
)
_COMPARE = flags.DEFINE_list(
    "compare",
    [],
    "Folders of runs to compare with, such as vanilla ones.",
    allow_overwrite=False,
)
_CHECKPOINT = cli.define_checkpoint()
_HEADS = flags.DEFINE_list(
    "heads",
    None,
    "Heads of --workdir, by default all with a feature map.",
    allow_overwrite=False,
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "The other data set.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of its data.")
_SPLITS = flags.DEFINE_integer(
    "splits",
    10,
    "Number of random splits on which to repeat the probe.",
    lower_bound=0,
    upper_bound=cli.MOST,
)
_FINE_TUNE = flags.DEFINE_integer(
    "fine_tune",
    0,
    "Fine-tuning runs per extractor.",
    lower_bound=0,
    upper_bound=cli.MOST,
)
_EPOCHS = flags.DEFINE_integer(
    "epochs",
    20,
    "Epochs of fine-tuning.",
    lower_bound=1,
    upper_bound=cli.MOST,
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


def main():
    """Runs every extractor and prints the table."""
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and output.exists():
        raise InputError(f"`output` {output} already exists")
    runs = [
        transfer.FineTuning(_EPOCHS.value, seed=seed)
        for seed in range(_FINE_TUNE.value)
    ]
    if not runs:
        cli.reject_idle("without --fine_tune", "epochs")
    paths = [(p, _HEADS.value) for p in _WORKDIR.value]
    paths += [(p, None) for p in _COMPARE.value]
    models = [
        (Workdir(path), *load_run(Workdir(path), _CHECKPOINT.value), heads)
        for path, heads in paths
    ]
    for _, model, _, heads in models:
        for head in heads or ():
            model.feature_extractor(head)
    if output:
        check_folder(output.parent, "output")
    rows = []
    for folder, model, info, heads in models:
        dataset = transfer.target_data(_DATASET.value, info, _DATA_DIR.value)
        config = folder.config()
        found = transfer.transfer(model, dataset, heads, _SPLITS.value, runs)
        rows += [
            {
                "run": str(folder.path),
                "method": config.method,
                "seed": config.seed,
                "head": head,
                **values,
            }
            for head, values in found.items()
        ]
    print(transfer.format_rows(rows))
    if output:
        text = json.dumps(
            {
                "dataset": _DATASET.value,
                "fine_tuning": [dataclasses.asdict(each) for each in runs],
                "rows": rows,
            },
            indent=2,
        )
        write_whole(output, text + "\n")
