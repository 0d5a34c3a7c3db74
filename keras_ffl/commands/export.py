r"""Exports heads of a trained run to formats that don't need this package.

keras-ffl export --workdir=runs/small --head=all --output=models
keras-ffl export --workdir=runs/small --head=sub_1 --output=models \
    --format=litert,litert_int8,onnx,keras --check
"""

import sys

from absl import flags

from keras_ffl import cli, data, export, training
from keras_ffl.errors import InputError
from keras_ffl.models import count_parameters
from keras_ffl.workdir import Workdir

# Images to compare on; all of ImageNet's would not fit into memory.
_MOST = 10_000

_WORKDIR = cli.define_workdir()
_CHECKPOINT = cli.define_checkpoint()
_HEAD = flags.DEFINE_string(
    "head",
    "all",
    "Head: fused, sub_1, ..., ensemble, vanilla, or all.",
    allow_overwrite=False,
)
_FORMATS = flags.DEFINE_list(
    "formats",
    "saved_model",
    f"{', '.join(export.FORMATS)}, or all.",
    allow_overwrite=False,
)
flags.DEFINE_alias("format", "formats")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the exported files.", required=True
)
_CALIBRATION = flags.DEFINE_integer(
    "calibration",
    500,
    "Training images that set the ranges of litert_int8.",
    lower_bound=1,
)
_CHECK = flags.DEFINE_bool(
    "check",
    False,
    "Compare every exported file with predict on the test split, in a process "
    "without keras_ffl; exit with 1 if one differs.",
)
_MEASURE = flags.DEFINE_bool(
    "measure", False, "Check, and measure latencies at batches of 1 and 128."
)
_LICENSE = flags.DEFINE_string(
    "license", None, "Licence of the weights, for their model cards."
)
_DATA_DIR = cli.define_data_dir()


def main():
    """Exports heads, prints the files and compares them if requested."""
    names = _FORMATS.value
    names = list(export.FORMATS if names == ["all"] else dict.fromkeys(names))
    if not names:
        raise InputError(
            f"`formats` must be all or some of {', '.join(export.FORMATS)}, "
            "got none"
        )
    check = _CHECK.value or _MEASURE.value
    formats = [export.check_format(name, runs=check) for name in names]
    calibrated = any(found.calibrated for found in formats)
    if not calibrated:
        cli.reject_idle("without a format that needs it", "calibration")
        if not check:
            cli.reject_idle("without --check or calibration", "data_dir")
    folder = Workdir(_WORKDIR.value)
    model, info = training.load_run(folder, _CHECKPOINT.value)
    heads = model.heads if _HEAD.value == "all" else [_HEAD.value]
    for head in heads:
        model.check_head(head)
        for name in names:
            export.output_path(_OUTPUT.value, head, name)
    calibration, dataset = None, None
    if check or calibrated:
        config = folder.config().with_data_dir(_DATA_DIR.value)
        dataset = training.load_run_data(folder, config, model)
        calibration = data.sample_training(dataset, _CALIBRATION.value)[0]
    written = {name: {} for name in names}
    for head in heads:
        parameters = count_parameters(model.classifier(head), frozen=True)
        for name in names:
            path = export.write_head(
                model,
                head,
                info,
                _OUTPUT.value,
                name,
                calibration,
                training.describe_run(folder, model, head, _CHECKPOINT.value),
                _LICENSE.value,
            )
            written[name][head] = path
            size = export.size_on_disk(path) / 1000
            print(f"{path}: {parameters:,} parameters, {size:,.0f} kB")
    if check:
        images, labels = data.sample_test(dataset, _MOST)
        batches = (1, 128) if _MEASURE.value else ()
        rows = export.verify(model, info, written, images, labels, batches)
        print(export.format_rows(rows))
        if not all(row["agrees"] for row in rows):
            sys.exit(1)
