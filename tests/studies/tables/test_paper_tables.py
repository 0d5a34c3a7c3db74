"""The tables: what they hold, how they shrink, how large their models are."""

import pytest

from keras_ffl import training
from keras_ffl.errors import InputError
from keras_ffl.models import count_parameters
from keras_ffl.studies.tables import TABLES
from keras_ffl.studies.tables.method_tables import table
from keras_ffl.studies.tables.plan import dataset_info
from keras_ffl.studies.tables.smaller_tables import scaled_config, scaled_table


def entry_of(key, row, column):
    (entry,) = [
        e for e in table(key).entries if (e.row, e.column) == (row, column)
    ]
    return entry


@pytest.mark.parametrize(
    ("key", "entries"),
    [
        ("1a", 16),
        ("1b", 16),
        ("2", 8),
        ("3", 8),
        ("4", 14),
        ("5", 14),
        ("6", 12),
        ("methods", 21),
        ("digits", 15),
    ],
)
def test_every_entry_has_its_own_place(key, entries):
    found = table(key)
    assert found.key == key
    assert len(found.entries) == entries
    places = {(entry.row, entry.column) for entry in found.entries}
    assert len(places) == entries


def test_every_method_takes_its_options():
    for key in TABLES:
        for entry in table(key).entries:
            entry.config.check()


@pytest.mark.parametrize(
    ("key", "row", "column", "method", "head", "mean", "std", "runs"),
    [
        ("1a", "WRN-40-2", "CIFAR-100, FFL", "ffl", "fused", 21.05, 0.25, 10),
        (
            "1a",
            "ResNet-56",
            "CIFAR-10, DualNet",
            "dualnet",
            "average",
            5.67,
            0.12,
            10,
        ),
        (
            "1b",
            "ResNet-32",
            "CIFAR-100, DualNet",
            "dualnet",
            "sub",
            34.91,
            1.23,
            10,
        ),
        ("2", "C: no EKD", "sub-networks", "ffl", "sub", 28.36, 0.44, 10),
        ("3", "ResNet-56", "ONE-E", "one", "teacher", 23.59, 0.24, 10),
        ("4", "FFL-S", "top-5", "ffl", "sub", 7.95, 0.06, 1),
        (
            "5",
            "ResNet-56 + WRN-40-2",
            "DML, net 2",
            "dml",
            "sub_2",
            23.33,
            0.27,
            10,
        ),
        (
            "6",
            "2-net",
            "ResNet-32 + WRN-16-2",
            "ensemble",
            "ensemble",
            24.78,
            0.31,
            3,
        ),
        ("4", "2-net", "top-1", "ensemble", "ensemble", 24.36, None, None),
        ("4", "2-net, networks", "top-1", "ensemble", "sub", 26.37, 0.01, 1),
        (
            "methods",
            "2-net",
            "fused or ensemble",
            "ensemble",
            "ensemble",
            26.3,
            0.35,
            3,
        ),
    ],
)
def test_figures(key, row, column, method, head, mean, std, runs):
    entry = entry_of(key, row, column)
    assert (entry.config.method, entry.head) == (method, head)
    assert (entry.paper.mean, entry.paper.std, entry.paper.runs) == (
        mean,
        std,
        runs,
    )


def test_recipes():
    one = entry_of("3", "ResNet-32", "ONE").config
    assert (one.epochs, one.lr_milestones, one.options.branches) == (
        300,
        (150, 225),
        3,
    )
    case_d = entry_of("2", "D: no EKD, no FKD", "fused classifier").config
    assert (case_d.epochs, case_d.lr_milestones) == (307, (256,))
    assert not case_d.options.use_ekd and not case_d.options.use_fkd
    dml = entry_of("5", "ResNet-32 + WRN-16-2", "DML, net 1").config
    assert (dml.options.temperature, dml.options.rampup_epochs) == (1, 0)
    imagenet = entry_of("4", "FFL", "top-1").config
    assert (imagenet.epochs, imagenet.batch_size) == (90, 256)
    assert (
        imagenet.options.rampup_epochs,
        imagenet.options.separate_stages,
    ) == (20, 2)


def test_unknown_table_lists_the_known():
    with pytest.raises(InputError, match="unknown table '7'; known.*1a.*6, m"):
        table("7")


def test_scaled_recipes():
    ffl = scaled_config(entry_of("2", "A: FFL", "sub-networks").config, 10)
    assert ffl.networks == ("resnet8",)
    assert (ffl.epochs, ffl.lr_milestones, ffl.options.rampup_epochs) == (
        10,
        (8,),
        2.61,
    )
    one = scaled_config(entry_of("3", "ResNet-56", "ONE").config, 10)
    assert one.networks == ("resnet14",)
    assert (one.lr_milestones, one.options.rampup_epochs) == ((5, 8), 2.67)
    imagenet = scaled_config(entry_of("4", "ONE", "top-1").config, 9)
    assert (imagenet.dataset, imagenet.networks) == ("cifar100", ("resnet8",))
    assert (imagenet.lr_milestones, imagenet.options.rampup_epochs) == (
        (3, 6),
        2.0,
    )
    assert imagenet.options.separate_stages == 2
    dml = scaled_config(entry_of("methods", "DML", "sub-networks").config, 10)
    assert dml.options.rampup_epochs == 0


def test_scaled_labels_name_what_is_trained():
    rows = [entry.row for entry in scaled_table(table("5"), 10).entries]
    assert rows[0] == ("ResNet-8 (for ResNet-32) + WRN-10-1 (for WRN-16-2)")
    title = scaled_table(table("4"), 10).title
    assert title == (
        "Table IV: CIFAR-100 (for ImageNet), ResNet-8 (for ResNet-34) "
        "(scaled down)"
    )


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_few_epochs_leave_a_valid_schedule(epochs):
    one = scaled_config(entry_of("3", "ResNet-32", "ONE").config, epochs)
    assert list(one.lr_milestones) == sorted(set(one.lr_milestones))


@pytest.mark.parametrize(
    ("row", "column"),
    [(entry.row, entry.column) for entry in table("6").entries],
)
def test_parameters_of_table_6(row, column):
    entry = entry_of("6", row, column)
    info, _ = dataset_info(entry.config.dataset)
    millions = count_parameters(training.build_model(entry.config, info)) / 1e6
    assert millions == pytest.approx(entry.paper.parameters, abs=0.01)


def test_scaled_methods_can_be_built():
    info, _ = dataset_info("cifar100")
    for entry in scaled_table(table("methods"), 10).entries:
        model = training.build_model(entry.config, info)
        heads = [h for h in model.heads if h.startswith("sub_")]
        assert entry.head in model.heads or (entry.head == "sub" and heads)


def test_a_head_of_every_network_is_there_in_mixed_tables():
    entries = scaled_table(table("5"), 10).entries
    info, _ = dataset_info("cifar100")
    heads = {}
    for entry in entries:
        if entry.config not in heads:
            model = training.build_model(entry.config, info)
            heads[entry.config] = model.heads
        assert entry.head in heads[entry.config]
