"""Shows what exported heads are: classes, input, data, errors, versions.

    keras-ffl card models/sub_1.onnx
    keras-ffl card models

A path is an exported file, a SavedModel's folder, or a folder of several.
"""

import json
import pathlib

from absl import flags

from keras_ffl.errors import InputError
from keras_ffl.export.cards import CARD, read_card

_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of text.")


def main(paths):
    """Prints the card of every path."""
    if not paths:
        raise InputError("`card` needs the path of an exported head")
    cards = {}
    for path in map(pathlib.Path, paths):
        for found in _heads(path):
            cards[str(found)] = read_card(found)
    if _JSON.value:
        print(json.dumps(cards, indent=2))
    else:
        print("\n\n".join(format_card(*each) for each in cards.items()))


def _heads(path):
    """The path itself, or the cards of a folder of several heads."""
    if not path.is_dir() or (path / CARD).exists():
        return [path]
    found = sorted([*path.glob(f"*/{CARD}"), *path.glob(f"*.{CARD}")])
    if not found:
        raise InputError(f"{path} holds no {CARD}")
    return found


def format_card(path, card):
    """Formats a card as lines.

    Args:
        path: Str, the path to name.
        card: Dict from `keras_ffl.export.cards.make_card`.

    Returns:
        Str of several lines.
    """
    classes = card["classes"]
    shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    run = card["run"] or {}
    lines = {
        "head": f"{card['head']} of {card['model']}, {card['format']}, "
        f"{card['parameters']:,} parameters",
        "input": _tensor(card["input"]) + ", values 0 to 255",
        "prepares": _list("mean", card["normalization"]["mean"])
        + ", "
        + _list("std", card["normalization"]["std"]),
        "output": _tensor(card["output"]),
        "classes": f"{len(classes)}: {shown}",
        "data set": card["dataset"],
        "trained": ", ".join(
            f"{name} {_plain(run[name])}"
            for name in ("method", "networks", "epochs", "checkpoint", "seed")
            if name in run
        )
        or "not stated",
        "errors": ", ".join(
            f"{name} {_plain(value)}"
            for name, value in (run.get("errors") or {}).items()
        )
        or "not stated",
        "licence": card["license"] or "not stated",
        "versions": ", ".join(
            f"{name} {version}" for name, version in card["versions"].items()
        ),
    }
    rows = (f"  {name:8}  {text}" for name, text in lines.items())
    return "\n".join([path, *rows])


def _tensor(tensor):
    shape = ", ".join(map(str, tensor["shape"]))
    return f"{tensor['name']} ({shape}) {tensor['dtype']}"


def _list(name, values):
    return f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def _plain(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return "+".join(value) if isinstance(value, list) else value
