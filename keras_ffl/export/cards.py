"""Model cards: what an exported head is, beside the file and within it."""

import importlib.metadata
import json
import pathlib
import zipfile

import keras

import keras_ffl
from keras_ffl import backend
from keras_ffl.errors import InputError, first_line
from keras_ffl.models import count_parameters
from keras_ffl.optional import onnx, require
from keras_ffl.whole_files import write_whole

CARD = "model_card.json"
# Name of the card within ONNX files.
_WITHIN = "model_card"

# What every card holds: types by key.
_TENSOR = {"name": str, "shape": list, "dtype": str}
_FORM = {
    "head": str,
    "format": str,
    "model": str,
    "dataset": str,
    "classes": list,
    "input": _TENSOR,
    "output": _TENSOR,
    "normalization": {"mean": list, "std": list},
    "parameters": int,
    "run": (dict, type(None)),
    "license": (str, type(None)),
    "versions": dict,
}


class _Prediction(keras.layers.Layer):
    """A task's prediction, whatever functions it uses, for its shapes."""

    def __init__(self, task):
        super().__init__(dtype="float32")
        self.prediction = task.prediction

    def call(self, outputs):
        return self.prediction(outputs)


def make_card(model, head, info, name, run=None, license=None):
    """Describes a head that is exported.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        name: Str, the format.
        run: Dict of JSON values about its training, or None.
        license: Str, the licence of its weights, or None if it isn't stated.

    Returns:
        Dict of JSON values.

    Raises:
        InputError: `run` or `license` is of another type.
    """
    for argument, value in (("run", run), ("license", license)):
        if not _fits(value, _FORM[argument]):
            raise InputError(
                f"`{argument}` must be a {_FORM[argument][0].__name__} or "
                f"None, got {value!r}"
            )
    try:
        json.dumps(run)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`run` must hold JSON values: {first_line(error)}"
        ) from error
    predicted = _Prediction(model.task)(
        keras.KerasTensor(model.head_shape, "float32")
    )[model.task.output_name]
    sizes = zip(("height", "width", "channels"), info.input_shape)
    return {
        "head": head,
        "format": name,
        "model": type(model).__name__,
        "task": type(model.task).__name__,
        "dataset": info.name,
        "classes": list(info.class_names),
        "input": {
            "name": "images",
            "shape": ["batch", *(size or axis for axis, size in sizes)],
            "dtype": "uint8",
            "range": [0, 255],
        },
        "normalization": {
            "included": True,
            "mean": list(info.mean),
            "std": list(info.std),
        },
        "central_crop": info.central_crop,
        "antialias": info.antialias,
        "output": {
            "name": model.task.output_name,
            "shape": ["batch", *predicted.shape[1:]],
            "dtype": predicted.dtype,
        },
        "parameters": count_parameters(model.classifier(head), frozen=True),
        "run": run,
        "license": license,
        "versions": versions(),
    }


def versions(*more):
    """The versions of keras_ffl, the backend's packages and `more`, a dict."""
    return {
        "keras_ffl": keras_ffl.__version__,
        **{
            package: importlib.metadata.version(package)
            for package in (*backend.PACKAGES, *more)
        },
    }


def card_path(path):
    """The path of an exported head's card.

    Args:
        path: `pathlib.Path` of the file, or of the SavedModel's folder.

    Returns:
        `pathlib.Path`: in the folder, or beside the file.
    """
    if path.is_dir():
        return path / CARD
    return path.with_name(f"{path.name}.{CARD}")


def add_card(path, card):
    """Puts a card into an exported file, or into a SavedModel's folder.

    Args:
        path: `pathlib.Path`.
        card: Dict from `make_card`.
    """
    text = card_text(card)
    if path.is_dir():
        write_whole(path / CARD, text)
    else:
        _ADD[path.suffix](path, text)


def card_text(card):
    """Returns a card as JSON text."""
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"


def read_card(path):
    """Reads the card of an exported head.

    Args:
        path: Path of the exported file, a SavedModel's folder, or the card.

    Returns:
        Dict, as from `make_card`.

    Raises:
        InputError: There is no card, or it can't be read.
    """
    path = pathlib.Path(path)
    beside = path if path.name.endswith(CARD) else card_path(path)
    try:
        card = json.loads(_text_of(path, beside))
        if not _fits(card, _FORM):
            raise InputError(f"{path} holds no complete model card")
        return card
    except OSError as error:
        raise InputError(
            f"{beside} can't be read: {error.strerror or first_line(error)}"
        ) from error
    # Of JSON, zip, and the packages that read the other formats.
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the model card of {path} can't be read: {first_line(error)}"
        ) from error


def _text_of(path, beside):
    """The card within a file or else the one beside it, which may be older."""
    if path.suffix in _READ and path.exists():
        try:
            return _READ[path.suffix](path)
        # It holds none, or the package that reads it isn't installed.
        except (KeyError, ValueError, zipfile.BadZipFile):
            if not beside.exists():
                raise
    if beside.exists() or path.is_dir():
        return beside.read_text(encoding="utf-8")
    raise InputError(f"{path} holds no model card, nor is {beside} one")


def _fits(value, form):
    if not isinstance(form, dict):
        return isinstance(value, form)
    return isinstance(value, dict) and all(
        key in value and _fits(value[key], part) for key, part in form.items()
    )


# ----- within a file --------------------------------------------------------


def _add_to_archive(path, text):
    # `.keras` is a zip archive. Behind a LiteRT model one is appended, as the
    # format has it for associated files.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, text)


def _read_from_archive(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read(CARD).decode()


def _add_to_onnx(path, text):
    model = onnx.load(path)
    labels = "\n".join(json.loads(text)["classes"])
    onnx.helper.set_model_props(model, {_WITHIN: text, "labels": labels})
    _name_axes(model.graph, json.loads(text))
    onnx.save(model, path)


def _name_axes(graph, card):
    """Gives the axes of unknown size in an ONNX graph the card's names."""
    names = {}
    for value, kind in ((graph.input, "input"), (graph.output, "output")):
        axes = value[0].type.tensor_type.shape.dim
        for axis, name in zip(axes, card[kind]["shape"]):
            if isinstance(name, str) and not axis.HasField("dim_value"):
                if axis.dim_param:
                    names[axis.dim_param] = name
                axis.dim_param = name
    # The same sizes within the graph.
    for value in graph.value_info:
        for axis in value.type.tensor_type.shape.dim:
            axis_name = names.get(axis.dim_param)
            if axis_name:
                axis.dim_param = axis_name


def _read_from_onnx(path):
    require(onnx)
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(first_line(error)) from error
    return {each.key: each.value for each in model.metadata_props}[_WITHIN]


_ADD = {
    ".keras": _add_to_archive,
    ".onnx": _add_to_onnx,
    ".tflite": _add_to_archive,
}
_READ = {
    ".keras": _read_from_archive,
    ".onnx": _read_from_onnx,
    ".tflite": _read_from_archive,
}
