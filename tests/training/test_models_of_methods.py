"""From a configuration to a model, for every method."""

import dataclasses

import numpy as np
import pytest

from keras_ffl import InputError, presets, training
from keras_ffl.config import Config
from keras_ffl.data import DatasetInfo
from keras_ffl.methods import (
    METHODS,
    DualNetModel,
    EnsembleModel,
    FeatureFusionModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    PeerCollaborativeModel,
    VanillaModel,
)
from keras_ffl.models import build, count_parameters
from keras_ffl.training import build_method
from keras_ffl.training.parts import build_model
from keras_ffl.workdir import Workdir

INFO = DatasetInfo("toy", 10, (8, 8, 1), tuple("0123456789"), (0,), (1,), False)


def config(method="ffl", **values):
    fields = {k: v for k, v in values.items() if k in Config.names()}
    options = {k: v for k, v in values.items() if k not in fields}
    return Config(method=method, **fields, options=options)


def model_of(settings, classes=10, image=(8, 8, 1)):
    return build_method(settings, classes, image)


def rejected(message):
    return pytest.raises(InputError, match=message)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """Workdir of a run of an ensemble, and its model."""
    folder = Workdir(tmp_path_factory.mktemp("ensemble"))
    settings = config("ensemble")
    folder.check(settings)
    folder.start(settings, INFO)
    model = model_of(settings)
    model.compile()
    model.optimizer.build(model.trainable_variables)
    folder.save_checkpoint(model, 1, keep=1)
    return folder.path, model


# ----- models -------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "heads"),
    [
        (config("ffl", branches=3), FeatureFusionModel, 5),
        (config("vanilla"), VanillaModel, 1),
        (config("ensemble", branches=3), EnsembleModel, 4),
        (
            config("ensemble", networks=("resnet8", "wrn_10_1"), branches=1),
            EnsembleModel,
            3,
        ),
        (config("dualnet"), DualNetModel, 4),
        (config("one", branches=3), OneModel, 4),
        (config("pcl", branches=2), PeerCollaborativeModel, 6),
        (
            config("dml", networks=("resnet8", "wrn_10_1", "resnet8")),
            MutualLearningModel,
            4,
        ),
    ],
    ids=lambda value: getattr(value, "method", None),
)
def test_method_and_networks(settings, kind, heads):
    model = model_of(settings)
    assert type(model) is kind
    assert len(model.heads) == heads
    assert (model.num_classes, model.input_shape) == (10, (None, 8, 8, 1))
    if kind is VanillaModel:
        return
    names = settings.networks
    names = names if len(names) > 1 else names * settings.options.branches
    assert [count_parameters(network) for network in model.subnetworks] == [
        count_parameters(build(name, 10, (8, 8, 1))) for name in names
    ]


def test_every_method_has_its_row():
    known = {"ffl", "vanilla", "ensemble", "dualnet", "one", "dml", "kd", "pcl"}
    assert known <= METHODS.keys()
    assert len({row.model for row in METHODS.values()}) == len(METHODS)


def test_options_of_dualnet():
    model = model_of(
        config(
            "dualnet",
            epochs=20,
            joint_epochs=4,
            joint_extractors=True,
            classifier_weight=0.7,
        )
    )
    assert model.iterative_epochs == 16
    assert (model.joint_extractors, model.classifier_weight) == (True, 0.7)
    model = model_of(config("dualnet"))
    assert (model.joint_extractors, model.classifier_weight) == (False, 0.3)


@pytest.mark.parametrize(
    ("epochs", "joint_epochs", "iterative"),
    [
        (307, None, 256),
        (300, None, 250),
        (10, None, 8),
        (1, None, 1),
        (10, 0, 10),
        (10, 10, 0),
    ],
)
def test_share_of_joint_training(epochs, joint_epochs, iterative):
    settings = config("dualnet", epochs=epochs, joint_epochs=joint_epochs)
    assert model_of(settings).iterative_epochs == iterative


def test_options_of_one():
    model = model_of(config("one", temperature=2.0, rampup_epochs=7))
    assert (model.temperature, model.rampup_epochs) == (2.0, 7)
    # A longer trunk: one stage of two is shared more.
    deep = model_of(config("one", separate_stages=2))
    assert count_parameters(deep) > count_parameters(model)
    assert model.gate.input.shape == (None, 4, 4, 32)
    assert deep.gate.input.shape == (None, 8, 8, 16)


@pytest.mark.parametrize("simultaneous", [False, True])
def test_options_of_dml(simultaneous):
    model = model_of(
        config(
            "dml", temperature=2.0, rampup_epochs=7, simultaneous=simultaneous
        )
    )
    assert (model.temperature, model.rampup_epochs) == (2.0, 7)
    assert model.simultaneous is simultaneous


@pytest.mark.parametrize("head", [None, "sub_2"])
def test_kd_takes_its_teacher_from_a_run(head, trained_run, caplog):
    path, source = trained_run
    model = model_of(
        config(
            "kd",
            teacher=str(path),
            teacher_head=head,
            networks=("wrn_10_1",),
            temperature=4.0,
            rampup_epochs=3,
        )
    )
    assert type(model) is KnowledgeDistillationModel
    assert (model.temperature, model.rampup_epochs) == (4.0, 3)
    epochs = config("ensemble").epochs
    assert f"has finished 0 of {epochs} epochs; its last" in caplog.text
    student = build("wrn_10_1", 10, (8, 8, 1))
    assert count_parameters(model) == count_parameters(student)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    # The main head of an ensemble is that of the mean logits.
    expected = source.classifier(head or "ensemble")(x)
    np.testing.assert_allclose(
        model(x)["teacher"], expected, rtol=1e-5, atol=1e-5
    )


# ----- bad input ----------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        *(
            (
                method,
                {"branches": 1},
                "`branches` must be at least 2 where `networks` names one "
                f"network for method {method}, got 1",
            )
            for method in ("ffl", "ensemble", "dml", "one")
        ),
        *(
            (
                method,
                {"networks": ("resnet8", "wrn_10_1")},
                f"`networks` must name one network for method {method}, got "
                "resnet8, wrn_10_1",
            )
            for method in ("vanilla", "one", "dualnet", "kd")
        ),
        (
            "one",
            {"separate_stages": 0},
            "`separate_stages` must be at least 1 for method one, whose gate "
            "needs a shared trunk, got 0",
        ),
        *(
            (
                "dualnet",
                {"branches": branches},
                f"`branches` must be 2 for method dualnet, got {branches}",
            )
            for branches in (1, 3)
        ),
        (
            "dualnet",
            {"epochs": 10, "joint_epochs": 11},
            "`joint_epochs` must be at most `epochs`, 10, got 11",
        ),
        (
            "kd",
            {},
            "`teacher` must be the workdir of a trained run for method kd, "
            "got none",
        ),
        *(
            (
                method,
                {"teacher": "runs/1"},
                f"`teacher` has no meaning for method {method} (its options: "
                f"{', '.join(METHODS[method].options.names()) or 'none'}), got "
                "'runs/1'",
            )
            for method in METHODS
            if method != "kd"
        ),
        (
            "magic",
            {},
            f"`method` must be one of {', '.join(METHODS)}, got 'magic' (one "
            "of another package is imported first, in commands by --import)",
        ),
    ],
)
def test_options_that_a_method_can_not_take(method, values, message):
    with pytest.raises(InputError) as error:
        config(method, **values).check()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"teacher": "no/such/run"}, "no/such/run holds no run"),
        ({"teacher_head": "fused"}, "`teacher_head` must be one of sub_1, sub"),
    ],
)
def test_no_such_teacher(values, message, trained_run):
    values = {"teacher": str(trained_run[0]), **values}
    with rejected(message):
        model_of(config("kd", **values))


def test_a_teacher_of_other_classes(trained_run):
    settings = config("kd", teacher=str(trained_run[0]))
    with rejected(r"give the outputs of `network`, \(5,\), got \(10,\)"):
        model_of(settings, classes=5)


def test_a_teacher_of_other_data(trained_run):
    settings = config("kd", teacher=str(trained_run[0]))
    build_model(settings, INFO)
    for changes in (
        {"class_names": tuple("abcdefghij")},
        {"mean": (1.0,)},
    ):
        with rejected("`teacher` must be trained on .*dataset.json: `"):
            build_model(settings, dataclasses.replace(INFO, **changes))


# ----- presets ------------------------------------------------------------


def test_another_method_brings_its_own_defaults():
    for method in METHODS:
        found = presets.preset("cifar_small", method=method)
        own = {
            "dml": {"temperature": 1.0, "rampup_epochs": 0.0},
            "kd": {"rampup_epochs": 0.0},
            "pcl": {"branches": 3, "views": True},
            "ffsd": {"temperature": 2.0, "rampup_epochs": 5.0},
        }.get(method, {})
        recipe = presets.preset("cifar_small")
        for name in Config.names():
            if name != "method":
                assert getattr(found, name) == getattr(recipe, name)
        for name, value in vars(found.options).items():
            if name in vars(recipe.options):
                expected = own.get(name, getattr(recipe.options, name))
                assert value == expected
    again = presets.preset("cifar_dml").changed(method="one").options
    assert (again.temperature, again.rampup_epochs) == (3.0, 80.0)
    # The same method once more changes nothing.
    mine = presets.preset("cifar_dml", temperature=2.0)
    assert mine.changed(method="dml") == mine
    # Nor does the way to a recipe.
    for method in METHODS:
        assert presets.preset("cifar_small_vanilla", method=method).changed(
            preset="cifar_small"
        ) == presets.preset("cifar_small", method=method)


@pytest.mark.parametrize("method", METHODS)
def test_options_are_what_a_method_reads(method, trained_run):
    teacher = {"teacher": str(trained_run[0])} if method == "kd" else {}
    settings, read = config(method, **teacher), set()
    own = type(settings.options)

    class Watched(own):
        def __getattribute__(self, name):
            read.add(name)
            return super().__getattribute__(name)

    watched = Watched(**vars(settings.options))
    object.__setattr__(settings, "options", watched)
    read.clear()
    training.build_model(settings, INFO)
    watched.number_of_views(settings.networks)
    assert set(own.names()) <= read


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("vanilla", {"use_fkd": False}, "method vanilla .its options: none"),
        ("vanilla", {"branches": 2}, "method vanilla"),
        ("ensemble", {"temperature": 2.0}, "ensemble .its options: branches"),
        ("dualnet", {"rampup_epochs": 3}, "joint_epochs, joint_extractors"),
        ("one", {"use_ekd": True}, "method one"),
        ("dml", {"separate_stages": 2}, "method dml"),
        ("kd", {"simultaneous": True}, "method kd"),
        ("ffl", {"joint_epochs": 3}, "method ffl"),
        (
            "ffl",
            {"branches": 2, "networks": ("resnet8", "wrn_10_1")},
            "where `networks` names several networks, got 2",
        ),
        (
            "ffl",
            {"fusion_filters": 8, "fusion": "average"},
            "where `fusion` is average, got 8",
        ),
        (
            "ffl",
            {"fusion_width": "sum", "fusion_filters": 8},
            "where `fusion_filters` is given, got 'sum'",
        ),
        (
            "ffl",
            {"lr_milestones": (1, 2), "lr_schedule": "cosine"},
            "where `lr_schedule` is cosine, got .1, 2.",
        ),
        (
            "ffl",
            {"temperature": 2.0, "use_ekd": False, "use_fkd": False},
            "where `use_ekd` and `use_fkd` are false, got 2.0",
        ),
        (
            "ffl",
            {"rampup_epochs": 2, "use_ekd": False, "use_fkd": False},
            "where `use_ekd` and `use_fkd` are false, got 2",
        ),
        (
            "dualnet",
            {"joint_extractors": True, "joint_epochs": 0},
            "where `joint_epochs` is 0, got True",
        ),
        ("ffl", {"lr_factor": 0.5, "lr_milestones": ()}, "is empty, got 0.5"),
        ("ffl", {"nesterov": True, "momentum": 0.0}, "is 0, got True"),
        ("ffl", {"padding": "constant", "pad": 0}, "is 0, got 'constant'"),
        ("ffl", {"image_size": 64}, "`dataset` digits, got 64"),
        ("ffl", {"data_dir": "photos"}, "`dataset` digits, got 'photos'"),
        (
            "ffl",
            {"pad": 2, "dataset": "imagefolder"},
            "`dataset` imagefolder, got 2",
        ),
    ],
)
def test_options_without_a_meaning(method, values, message):
    option = next(iter(values))
    with rejected(f"`{option}` has no meaning .*{message}"):
        presets.preset("quickstart", method=method, **values)


@pytest.mark.parametrize(
    ("name", "method", "parameters"),
    [
        ("cifar_vanilla", "vanilla", 472_756),
        ("cifar_ensemble", "ensemble", 2 * 472_756),
        # The fused classifier stands on the sum of 64 channels.
        ("cifar_dualnet", "dualnet", 2 * 472_756 + 6_500),
        # The three branches of FFL without its fusion module and fused
        # classifier, and with the gate: dense 32 to 3, batch normalisation.
        (
            "cifar_one",
            "one",
            1_214_112 - (1_728 + 384 + 12_288 + 128 + 6_500) + 99 + 6,
        ),
        ("cifar_dml", "dml", 472_756 + 703_284),
        # Two students, the leader, fusion module and fused classifier.
        ("cifar_ffsd", "ffsd", 3 * 472_756 + 16_228),
    ],
)
def test_models_of_the_presets(name, method, parameters):
    settings = presets.preset(name)
    assert (settings.preset, settings.method) == (name, method)
    assert settings.dataset == "cifar100"
    model = model_of(settings, classes=100, image=(32, 32, 3))
    assert count_parameters(model) == parameters


def test_recipes_of_the_presets():
    dualnet = presets.preset("cifar_dualnet")
    assert (dualnet.epochs, dualnet.lr_milestones) == (307, (256,))
    assert (
        dualnet.options.joint_epochs,
        dualnet.options.classifier_weight,
    ) == (None, 0.3)
    for name in ("cifar_vanilla", "cifar_ensemble", "cifar_one", "cifar_dml"):
        settings = presets.preset(name)
        assert (settings.epochs, settings.lr_milestones) == (300, (150, 225))
    one = presets.preset("cifar_one").options
    assert (one.branches, one.temperature, one.rampup_epochs) == (3, 3.0, 80)
    for name in ("ffl", "vanilla", "ensemble", "one", "dml", "ffsd"):
        first = presets.preset(f"cifar_{name}")
        second = f"cifar_{name}_cosine"
        assert presets.preset(second) == first.changed(
            preset=second, lr_schedule="cosine", weight_decay=5e-4
        )
        assert f"--preset {second} " in presets.PRESETS[second].__doc__
    dml = presets.preset("cifar_dml")
    assert dml.networks == ("resnet32", "wrn_16_2")
    assert (dml.options.temperature, dml.options.rampup_epochs) == (1.0, 0.0)
    assert not dml.options.simultaneous


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_built(name):
    settings = presets.preset(name)
    assert settings.preset == name
    settings.check()
    assert settings.row is METHODS[settings.method]
