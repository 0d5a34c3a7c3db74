"""Tables and finished cells that no training has made."""

import json

from keras_ffl.config import Config
from keras_ffl.studies.tables import Entry, PrintedError, Table
from keras_ffl.studies.tables.cells import cell_of

FFL = Config(dataset="digits", networks=("resnet8",), epochs=2)
VANILLA = Config(
    method="vanilla", dataset="digits", networks=("resnet8",), epochs=2
)


def small_table():
    """Two methods, three entries; the paper has errors of two of them."""
    return Table(
        "small",
        "A small table",
        (
            Entry("FFL", "fused", FFL, "fused", PrintedError(25.0, 0.3, 10)),
            Entry("FFL", "sub", FFL, "sub", PrintedError(27.0, 0.4, 10, 26.5)),
            Entry("alone", "fused", VANILLA, "vanilla"),
        ),
        ("A note.",),
    )


def head(top1, top5=5.0, parameters=100, multiply_adds=1000):
    return {
        "top1_error": top1,
        "top5_error": top5,
        "loss": 1.0,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
    }


def finish(cell, heads, history=(), seconds=10.0):
    """Writes what a finished run leaves in its folder.

    Args:
        cell: Cell.
        heads: Dict from head to its results.
        history: List of dicts, a row for each epoch.
        seconds: Seconds per epoch.
    """
    cell.path.mkdir(parents=True, exist_ok=True)
    config = cell.path / "config.json"
    config.write_text(json.dumps(cell.config.to_dict()))
    metrics = {
        "heads": heads,
        "epoch": cell.config.epochs,
        "parameters": 300,
        "multiply_adds": 3000,
        "seconds_per_epoch": seconds,
        "versions": {"keras": "3.15.1", "keras_ffl": "0.1.0"},
    }
    (cell.path / "metrics.json").write_text(json.dumps(metrics))
    if history:
        lines = [",".join(history[0])]
        lines += [",".join(map(str, row.values())) for row in history]
        (cell.path / "history.csv").write_text("\n".join(lines) + "\n")


def finish_ffl(root, seed, fused, subs, table=None, **options):
    """A finished FFL run; its history has a better epoch before the last."""
    cell = cell_of((table or small_table()).entries[0], seed, root)
    heads = {"fused": head(fused, parameters=250, multiply_adds=2500)}
    heads |= {f"sub_{k}": head(e) for k, e in enumerate(subs, start=1)}
    history = [
        {
            "epoch": epoch,
            **{
                f"val_{name}_accuracy": 1 - (values["top1_error"] - gain) / 100
                for name, values in heads.items()
            },
        }
        for epoch, gain in enumerate((1.0, 0.0))
    ]
    finish(cell, heads, history, **options)
    return cell
