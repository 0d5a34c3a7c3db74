"""Tables of all methods on one network, and the table of all tables."""

import functools

from keras_ffl import presets
from keras_ffl.errors import InputError
from keras_ffl.methods import METHODS
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.studies.tables import printed_errors as paper
from keras_ffl.studies.tables.entries import Entry, PrintedError, Table
from keras_ffl.studies.tables.paper_tables import (
    PAPER_TABLES,
    cases,
    versus_dualnet,
    versus_one,
)

_PAPER = {
    "vanilla": (paper.VANILLA_RESNET_32, None),
    "ensemble": (paper.TABLE_6[("resnet32",)][0], None),
    "dualnet": (
        PrintedError(*paper.TABLE_1A["resnet32"][2], 10),
        PrintedError(*paper.TABLE_1B["resnet32"][2], 10),
    ),
}


# Labels of the primary head and of sub-networks.
_COLUMNS = "fused or ensemble", "sub-networks"


def _every_method(recipe, printed):
    """Entries of all methods but FFL that need no other run.

    Args:
        recipe: Function from `method` to a `Config`.
        printed: Dict from method to a `PrintedError` for each column.
    """
    entries = []
    for key, row in METHODS.items():
        if key == "ffl" or row.runs:
            continue
        heads = row.model.primary_head, "sub"
        if not issubclass(row.model, ParallelMethod):
            heads = heads[:1]
        entries += [
            Entry(row.label, column, recipe(method=key), head, error)
            for column, head, error in zip(
                _COLUMNS, heads, printed.get(key, (None, None))
            )
        ]
    return entries


def _table_methods():
    return Table(
        "methods",
        "All methods on one network, ResNet-32, CIFAR-100",
        (
            *_every_method(versus_dualnet, _PAPER),
            *cases(*_COLUMNS),
        ),
        (
            "Not a table of the paper: every method with the recipe of Tables "
            "I and II. The paper's figures are from there, 2-net's from "
            "Table VI, vanilla's implied by its text.",
            "DML as in its own paper: temperature 1 and no ramp-up.",
            "FFSD's first figure is its leader's, a single network.",
        ),
    )


def _table_digits():
    recipe = functools.partial(presets.preset, "quickstart")
    ffl = [
        Entry(METHODS["ffl"].label, column, recipe(), head)
        for column, head in zip(_COLUMNS, ("fused", "sub"))
    ]
    return Table(
        "digits",
        "All methods on one network, ResNet-8, the embedded digits",
        (*_every_method(recipe, {}), *ffl),
        (
            "Not a table of the paper: whether a method trains, in minutes. "
            "An error of 0.28 % is one image of 360.",
        ),
    )


# Changes of FFL's recipe, deployed head, fused or ensemble head.
_LATER = (
    ("vanilla", {"method": "vanilla"}, "vanilla", None),
    ("DML", {"method": "dml"}, "sub", "ensemble"),
    ("ONE", {"method": "one"}, "sub", "teacher"),
    ("FFL", {}, "sub", "fused"),
    (
        "FFL, no distillation",
        {"use_ekd": False, "use_fkd": False},
        "sub",
        "fused",
    ),
    ("PCL, mean teacher", {"method": "pcl"}, "teacher_1", "fused"),
    ("PCL, peers", {"method": "pcl"}, "sub", "ensemble"),
    ("FFSD", {"method": "ffsd"}, "leader", "fused"),
    ("FFL, detached fusion", {"detach_fusion": True}, "sub", "fused"),
    ("FFL, mean teachers in EKD", {"ema_teacher": True}, "sub", "fused"),
    ("FFL, views", {"views": True}, "sub", "fused"),
    ("FFL, StandardizedKL", {"distillation": "standardized"}, "sub", "fused"),
    ("FFL, DecoupledKL", {"distillation": "decoupled"}, "sub", "fused"),
)


def _table_later():
    entries = []
    for row, changes, *heads in _LATER:
        if changes != {"method": "vanilla"}:
            changes = {"branches": 2} | changes
        config = versus_one(networks=("resnet32",), **changes)
        entries += [
            Entry(row, column, config, head)
            for column, head in zip(("deployed network", "fused"), heads)
            if head
        ]
    return Table(
        "later",
        "FFL, later methods and options, two ResNet-32, CIFAR-100",
        tuple(entries),
        (
            "Not a table of the paper: the 300 epochs of Tables III and V for "
            "all. FFSD has a third network, its leader.",
            '"fused" is the fused classifier, ONE\'s gated teacher, or the '
            "ensemble of DML and of PCL's peers.",
        ),
    )


TABLES = {
    **PAPER_TABLES,
    "methods": _table_methods,
    "digits": _table_digits,
    "later": _table_later,
}
"""The functions that build the tables, by their names for `--table`."""


def table(key):
    """Builds a table by its key.

    Args:
        key: A key of `TABLES`.

    Returns:
        `Table`.

    Raises:
        InputError: There is no such table; the message lists the known ones.
    """
    if key not in TABLES:
        raise InputError(
            f"unknown table {key!r}; known tables: {', '.join(TABLES)}"
        )
    return TABLES[key]()
