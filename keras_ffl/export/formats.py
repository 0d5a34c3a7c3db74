"""The formats that a head can be exported in."""

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import uuid
import warnings
from collections.abc import Callable

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.export.exportable import check_backend, check_images, check_info
from keras_ffl.export.saved_model import export_head
from keras_ffl.export.stock import stock_head

LABELS = "labels.txt"


@dataclasses.dataclass(frozen=True)
class Format:
    """How a head is written in one format.

    Attributes:
        suffix: Str, what the file's or folder's name has behind the head.
        write: Function `(model, head, info, path, calibration)` that writes
            it.
        calibrated: Whether `write` needs calibration images.
        by_tensorflow: Whether `write` needs TensorFlow as Keras' backend.
        exact: Whether the probabilities are those of `predict` but for
            rounding errors of float32.
        writer: Tuple of the modules that writing needs beside TensorFlow.
        reader: Tuple of the modules that running needs.
        extra: Name of this package's extra that brings these modules.
    """

    suffix: str
    write: Callable
    calibrated: bool = False
    by_tensorflow: bool = True
    exact: bool = True
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
        _sized(stock_head(model, head, info, "uint8")),
        path,
        "litert",
        # Without TensorFlow's own operations, which the runtime lacks.
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
        _sized(stock_head(model, head, info)),
        path,
        "litert",
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=examples,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        inference_input_type=tf.uint8,
        inference_output_type=tf.float32,
    )


def _write_onnx(model, head, info, path, calibration):
    _convert(_named(stock_head(model, head, info, "uint8")), path, "onnx")


def _named(model):
    """The model with a name for its output in the exported signature."""
    return keras.Model(model.input, {"probabilities": model.output})


def _sized(model):
    """The named model, refusing images of another size than its input's.

    LiteRT gives a graph any size, and its operations broadcast.
    """
    if None in model.input_shape[1:]:
        return _named(model)
    given = model.input
    image = keras.Input(given.shape[1:], dtype=given.dtype, name="images")
    return _named(keras.Model(image, model(_SameSize()(image))))


class _SameSize(keras.layers.Layer):
    """Gives what it is given, by an operation that demands equal sizes."""

    def __init__(self):
        super().__init__(autocast=False)

    def call(self, images):
        other = ops.zeros((1, *images.shape[1:]), images.dtype)
        return ops.concatenate([other, images])[1:]


def _convert(model, path, kind, **options):
    import tensorflow as tf

    image = model.input
    signature = [tf.TensorSpec(image.shape, image.dtype, name="images")]
    with warnings.catch_warnings():
        # Keras makes tf2onnx fit for NumPy 2 by an attribute that NumPy may
        # take back one day.
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        try:
            model.export(
                path,
                format=kind,
                verbose=False,
                input_signature=signature,
                **options,
            )
        # The converters raise whatever comes up in them.
        except Exception as error:
            text = str(error).strip().splitlines() or [""]
            raise InputError(
                f"the network can't be converted to {kind} "
                f"({type(error).__name__}: {text[0]})"
            ) from error


FORMATS = {
    "saved_model": Format("", _write_saved_model, reader=("tensorflow",)),
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


def check_format(name, runs=False):
    """Checks that a format can be written, and run if it is to be.

    Args:
        name: Str, a key of `FORMATS`.
        runs: Whether the exported file is to be run as well.

    Returns:
        Its `Format`.

    Raises:
        InputError: There is no such format, a module is not installed, or
            Keras' backend is one that can't write it.
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
    """Where a head is written in a format; nothing may be there yet.

    Args:
        folder: Path of the folder of all exported heads.
        head: Str.
        name: Str, a key of `FORMATS`.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: Something is there.
    """
    path = pathlib.Path(folder) / f"{head}{FORMATS[name].suffix}"
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise InputError(f"output {path} is there already; nothing was written")
    return path


def write_head(model, head, info, folder, name, calibration=None):
    """Writes one head in one format, preprocessing included.

    All formats take images (batch, h, w, channels) in 0..255 of the data
    set's size (of any size where `info.input_shape` has None), uint8 but for
    "keras", which takes float32 as well, and give `probabilities` (batch,
    classes) float32. "saved_model" has more outputs and takes encoded images
    too (`export_head`). Beside them is written `labels.txt`, the names of the
    classes, a line each.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        folder: Path of a folder; it is made if it isn't there.
        name: Str, a key of `FORMATS`.
        calibration: uint8 images (n, h, w, channels) of the training split,
            whose activations set the ranges of the int8 format.

    Returns:
        `pathlib.Path` of the file, or of the SavedModel's folder.

    Raises:
        InputError: There is no such head or format, `info` or `calibration`
            is not of the model's data, a module is not installed, Keras'
            backend can't write the format, something is at the path already,
            the folder can't be written, or the network can't be converted.
    """
    model.check_head(head)
    check_info(model, info)
    found = check_format(name)
    if found.calibrated:
        check_images(calibration, info, "calibration")
    path = output_path(folder, head, name)
    _write_labels(path.parent, info)
    # What is cut off leaves nothing under the final name. The end of the name
    # tells Keras the format.
    unfinished = path.with_name(f"unfinished_{uuid.uuid4().hex}_{path.name}")
    try:
        found.write(model, head, info, unfinished, calibration)
        os.replace(unfinished, path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)
    return path


def _write_labels(folder, info):
    text = "".join(f"{name}\n" for name in info.class_names)
    path = folder / LABELS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        same = path.read_text(encoding="utf-8") == text
    except OSError as error:
        raise InputError(
            f"output {folder} can't be written: {error.strerror}"
        ) from error
    if not same:
        raise InputError(
            f"output {folder} holds heads with other classes ({path}); "
            "nothing was written"
        )


def size_on_disk(path):
    """Bytes of an exported file, or of all files in its folder."""
    path = pathlib.Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
