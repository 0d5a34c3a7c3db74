"""The tables of the paper: the runs for each number.

Tables I to VI of Kim et al., 2019, https://arxiv.org/abs/1904.09058.
"""

import functools

from keras_ffl import presets
from keras_ffl.methods import METHODS
from keras_ffl.studies.tables import printed_errors as paper
from keras_ffl.studies.tables.entries import Entry, PrintedError, Table

_THREE = ("resnet32", "resnet56", "wrn_16_2")


def versus_dualnet(**changes):
    """The recipe of Tables I and II with changes, a `Config`."""
    return presets.preset("cifar_ffl_307", **changes)


def versus_one(**changes):
    """The recipe of Tables III, V and VI with changes, a `Config`."""
    return presets.preset("cifar_ffl", **changes)


def _label(networks):
    return " + ".join(paper.NETWORK_LABELS[name] for name in networks)


# ----- Table I -----------------------------------------------------------


def _table_1(printed, dualnet_head, ffl_head):
    entries = []
    for network, row in printed.items():
        columns = [
            (dataset, method, head)
            for dataset in ("cifar10", "cifar100")
            for method, head in (("dualnet", dualnet_head), ("ffl", ffl_head))
        ]
        for (dataset, method, head), (mean, std) in zip(columns, row):
            entries.append(
                Entry(
                    paper.NETWORK_LABELS[network],
                    f"{paper.DATASET_LABELS[dataset]}, {METHODS[method].label}",
                    versus_dualnet(
                        method=method, dataset=dataset, networks=(network,)
                    ),
                    head,
                    PrintedError(mean, std, 10),
                )
            )
    return tuple(entries)


def _table_1a():
    return Table(
        "1a",
        "Table I (a): fused classifiers of DualNet and FFL",
        _table_1(paper.TABLE_1A, "average", "fused"),
        ("DualNet predicts with the weighted sum of its three classifiers.",),
    )


def _table_1b():
    return Table(
        "1b",
        "Table I (b): sub-networks of DualNet and FFL",
        _table_1(paper.TABLE_1B, "sub", "sub"),
    )


# ----- Table II ----------------------------------------------------------

_CASES = (
    ("A: FFL", {}),
    ("B: average, no fusion module", {"fusion": "average"}),
    ("C: no EKD", {"use_ekd": False}),
    ("D: no EKD, no FKD", {"use_ekd": False, "use_fkd": False}),
)


def cases(fused_column, sub_column):
    """The entries of Table II, in columns of these labels, a list."""
    return [
        Entry(row, column, versus_dualnet(**changes), head, error)
        for (row, changes), (fused, sub) in zip(_CASES, paper.TABLE_2)
        for column, head, error in (
            (fused_column, "fused", fused),
            (sub_column, "sub", sub),
        )
    ]


def _table_2():
    return Table(
        "2",
        "Table II: ablation of FFL, two ResNet-32, CIFAR-100",
        tuple(cases("fused classifier", "sub-networks")),
    )


# ----- Table III ---------------------------------------------------------

_ONE_AND_FFL = (
    ("ONE", "one", "sub"),
    ("FFL-S", "ffl", "sub"),
    ("ONE-E", "one", "teacher"),
    ("FFL", "ffl", "fused"),
)


def _table_3():
    return Table(
        "3",
        "Table III: ONE and FFL with three branches, CIFAR-100",
        tuple(
            Entry(
                paper.NETWORK_LABELS[network],
                column,
                versus_one(method=method, networks=(network,), branches=3),
                head,
                error,
            )
            for network, printed in paper.TABLE_3.items()
            for (column, method, head), error in zip(_ONE_AND_FFL, printed)
        ),
        (
            "ONE and FFL-S are means over the branches, ONE-E is the gated "
            "teacher, FFL the fused classifier.",
        ),
    )


# ----- Table IV ----------------------------------------------------------


def _table_4():
    preset = functools.partial(presets.preset, "imagenet_resnet34_ffl")
    return Table(
        "4",
        "Table IV: ImageNet, ResNet-34",
        tuple(
            Entry(row, column, preset(method=method), head, error, metric)
            for row, method, head, top_1, top_5 in paper.TABLE_4
            for column, metric, error in (
                ("top-1", "top1_error", top_1),
                ("top-5", "top5_error", top_5),
            )
        ),
        (
            "The paper's ± of this table is over the two branches of one run.",
            "2-net, two networks that are trained alone, is from the text.",
        ),
    )


# ----- Table V -----------------------------------------------------------


def _mixed(method, networks, sub, fused=None):
    """Entries of one method on mixed networks, a column for each network."""
    name = METHODS[method].label
    config = versus_one(method=method, networks=networks)
    row = _label(networks)
    entries = [
        Entry(row, f"{name}, net {k}", config, f"sub_{k}", error)
        for k, error in enumerate(sub, start=1)
    ]
    if fused:
        entries.append(Entry(row, f"{name}, fused", config, "fused", fused))
    return entries


def _table_5():
    entries = []
    for networks, fused, (dml, ffl) in zip(
        paper.PAIRS, paper.FUSED_OF_PAIRS, paper.TABLE_5
    ):
        entries += _mixed("dml", networks, dml)
        entries += _mixed("ffl", networks, ffl, fused)
    entries += _mixed("ffl", _THREE, paper.THREE_SUB, paper.THREE_FUSED)
    return Table(
        "5",
        "Table V: mixed networks with DML and FFL, CIFAR-100",
        tuple(entries),
        (
            "DML as in its own paper: temperature 1 and no ramp-up.",
            "The fused classifiers and the three mixed networks are from the "
            "paper's text.",
        ),
    )


# ----- Table VI ----------------------------------------------------------

# The paper doesn't say which blocks it adds to a mixed 2-net. One more block of
# 16 and two of 32 channels give the printed size in both pairs.
_STACKED = {"resnet32": "resnet32_6_7_5", "resnet56": "resnet56_10_11_9"}


def _two_networks(networks):
    if len(networks) > 1:
        networks = tuple(_STACKED.get(name, name) for name in networks)
    return versus_one(method="ensemble", networks=networks)


def _table_6():
    methods = (
        ("2-net", _two_networks, "ensemble"),
        ("FFL", lambda networks: versus_one(networks=networks), "fused"),
    )
    return Table(
        "6",
        "Table VI: ensemble of independent networks and FFL, CIFAR-100",
        tuple(
            Entry(row, _label(networks), config(networks), head, printed[k])
            for k, (row, config, head) in enumerate(methods)
            for networks, printed in paper.TABLE_6.items()
        ),
        (
            "The paper does not name this table's recipe; here it is the 300 "
            "epochs of Tables III and V.",
            "Assumed: the mixed 2-nets have one more block of 16 and two more "
            "of 32 channels in the ResNet, which gives the printed size.",
            "The paper's figures for FFL on mixed networks are Table V's, from "
            "10 runs.",
        ),
    )


PAPER_TABLES = {
    "1a": _table_1a,
    "1b": _table_1b,
    "2": _table_2,
    "3": _table_3,
    "4": _table_4,
    "5": _table_5,
    "6": _table_6,
}
"""The functions that build the tables of the paper, by their names."""
