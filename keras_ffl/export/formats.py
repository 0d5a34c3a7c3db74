"""The export formats of a head."""

import dataclasses
import importlib.util
import pathlib
import warnings
from collections.abc import Callable

from keras_ffl.errors import InputError, first_line, named_first_line
from keras_ffl.export.cards import add_card, card_path, card_text, make_card
from keras_ffl.export.exportable import check_backend, check_images, check_info
from keras_ffl.export.onnx_operations import add_to_tf2onnx
from keras_ffl.export.saved_model import check_loadable, export_head
from keras_ffl.export.signatures import named, sized
from keras_ffl.export.stock import stock_head
from keras_ffl.whole_files import replacing, write_whole

LABELS = "labels.txt"


@dataclasses.dataclass(frozen=True)
class Format:
    """How a head is written in one format.

    Attributes:
        suffix: Str, what follows the head in the name of the file or folder.
        write: Function `(model, head, info, path, calibration)` that writes
            the head.
        calibrated: Bool, whether `write` needs calibration images.
        by_tensorflow: Bool, whether `write` needs TensorFlow as backend.
        exact: Bool, whether the probabilities equal those of `predict` up to
            rounding errors of the precision that either computes in.
        keeps_precision: Bool, whether a head in half precision stays so;
            otherwise the file computes in float32.
        writer: Tuple of the modules needed to write, besides TensorFlow.
        reader: Tuple of the modules needed to run the export.
        extra: Name of this package's extra that installs these modules.
    """

    suffix: str
    write: Callable
    calibrated: bool = False
    by_tensorflow: bool = True
    exact: bool = True
    keeps_precision: bool = False
    writer: tuple = ()
    reader: tuple = ()
    extra: str | None = None


def _write_saved_model(model, head, info, path, calibration):
    export_head(model, head, info, path)


def _write_keras(model, head, info, path, calibration):
    stock_head(model, head, info).save(path)


def _write_litert(model, head, info, path, calibration):
    import tensorflow as tf

    _convert(
        sized(stock_head(model, head, info, "uint8")),
        path,
        "litert",
        # Without TensorFlow's operations, which the runtime lacks.
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
    )


def _write_litert_int8(model, head, info, path, calibration):
    import tensorflow as tf

    def examples():
        for image in calibration:
            yield [image[None].astype("float32")]

    # The images are the uint8 values of the first quantised tensor, so the
    # graph before quantisation takes floats.
    _convert(
        sized(stock_head(model, head, info)),
        path,
        "litert",
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=examples,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        inference_input_type=tf.uint8,
        inference_output_type=tf.float32,
    )


def _write_onnx(model, head, info, path, calibration):
    import onnx

    add_to_tf2onnx()
    _convert(named(stock_head(model, head, info, "uint8")), path, "onnx")
    try:
        onnx.checker.check_model(str(path))
    # tf2onnx only logs what it leaves in TensorFlow's form.
    except onnx.checker.ValidationError as error:
        raise InputError(
            f"the network can't be converted to onnx ({first_line(error)})"
        ) from error
    found = [each.name for each in onnx.load(path).graph.input]
    if found != ["images"]:
        raise InputError(
            "the network can't be converted to onnx (constants became inputs: "
            f"{', '.join(found)})"
        )


def _convert(model, path, kind, **options):
    import tensorflow as tf

    image = model.input
    signature = [tf.TensorSpec(image.shape, image.dtype, name="images")]
    with warnings.catch_warnings():
        # Keras adapts tf2onnx to NumPy 2 with an attribute that NumPy may
        # reuse in future.
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        try:
            model.export(
                path,
                format=kind,
                verbose=False,
                input_signature=signature,
                **options,
            )
        except OSError:
            # Such as a full disk.
            raise
        # The converters may raise anything.
        except Exception as error:
            raise InputError(
                f"the network can't be converted to {kind} "
                f"({named_first_line(error)})"
            ) from error


FORMATS = {
    "saved_model": Format(
        "", _write_saved_model, keeps_precision=True, reader=("tensorflow",)
    ),
    "keras": Format(
        ".keras", _write_keras, by_tensorflow=False, reader=("keras",)
    ),
    "litert": Format(
        ".tflite", _write_litert, reader=("ai_edge_litert",), extra="litert"
    ),
    "litert_int8": Format(
        "_int8.tflite",
        _write_litert_int8,
        calibrated=True,
        exact=False,
        reader=("ai_edge_litert",),
        extra="litert",
    ),
    "onnx": Format(
        ".onnx",
        _write_onnx,
        writer=("tf2onnx", "onnx"),
        reader=("onnxruntime",),
        extra="onnx",
    ),
}
"""`Format` objects by name: how a head is written, and what runs it."""


def check_format(name, runs=False):
    """Checks that a format can be written and, if requested, run.

    Args:
        name: Str, a key of `FORMATS`.
        runs: Bool, whether the exported file will be run as well.

    Returns:
        Its `Format`.

    Raises:
        InputError: There is no such format, a module is not installed, or
            Keras' backend can't write the format.
    """
    if name not in FORMATS:
        raise InputError(
            f"`format` must be one of {', '.join(FORMATS)}, got {name!r}"
        )
    found = FORMATS[name]
    if found.by_tensorflow:
        check_backend(name)
    for module in found.writer + (found.reader if runs else ()):
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"`format` {name} needs {module}, which is not installed: "
                f'pip install "keras-ffl[{found.extra}]"'
            )
    return found


def output_path(folder, head, name):
    """The unused path for a head in a format.

    Args:
        folder: Path of the folder of all exported heads.
        head: Str.
        name: Str, a key of `FORMATS`.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: The path already exists, or TensorFlow couldn't load it.
    """
    path = pathlib.Path(folder) / f"{head}{FORMATS[name].suffix}"
    if name == "saved_model":
        check_loadable(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise InputError(f"`output` {path} already exists; nothing was written")
    return path


def write_head(
    model, head, info, folder, name, calibration=None, run=None, license=None
):
    """Writes one head in one format, preprocessing included.

    All formats map images (batch, h, w, channels) in 0..255 of the data set's
    size (any size where `info.input_shape` has None) to float32
    `probabilities` (batch, classes), or to the main output of the model's
    task. Images are uint8; "keras" also takes
    float32. "saved_model" has more outputs and also takes encoded images (see
    `export_head`). `labels.txt`, with one class name per line, is written
    next to the file, and `model_card.json` in the SavedModel's folder, or
    beside the file after its name. Files also hold the card, and the axes of
    ONNX files have names.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        folder: Path of a folder, created if necessary.
        name: Str, a key of `FORMATS`.
        calibration: uint8 images (n, h, w, channels) of the training split,
            whose activations set the ranges of the int8 format.
        run: Dict of JSON values about the training for the card, such as
            `keras_ffl.training.describe_run` returns, or None.
        license: Str, the licence of the weights for the card, or None.

    Returns:
        `pathlib.Path` of the file, or of the SavedModel's folder.

    Raises:
        InputError: There is no such head or format, `run` or `license` is of
            another type, `info` or `calibration` doesn't fit the model's
            data, a module is not installed, Keras' backend can't write the
            format, the path already exists, the folder can't be written, or
            the network can't be converted.
    """
    model.check_head(head)
    check_info(model, info)
    found = check_format(name)
    if found.calibrated:
        check_images(calibration, info, "calibration")
    path = output_path(folder, head, name)
    card = make_card(model, head, info, name, run, license)
    labels = "".join(f"{name}\n" for name in info.class_names)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_labels(path.parent / LABELS, labels)
        with replacing(path) as unfinished:
            found.write(model, head, info, unfinished, calibration)
            add_card(unfinished, card)
            # Another process may have written here meanwhile.
            _check_labels(path.parent / LABELS, labels)
            if not (path.parent / LABELS).exists():
                write_whole(path.parent / LABELS, labels)
            if unfinished.is_file():
                write_whole(card_path(path), card_text(card))
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(
            f"`output` {path} can't be written: {reason}"
        ) from error
    return path


def _check_labels(path, text):
    if path.exists() and path.read_bytes() != text.encode():
        raise InputError(
            f"`output` {path.parent} holds heads with other classes ({path}); "
            "nothing was written"
        )
