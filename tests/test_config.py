"""Configuration: presets, text assignments, errors."""

import json

import pytest

from keras_ffl.config import Config
from keras_ffl.errors import InputError
from keras_ffl.methods import METHODS
from keras_ffl.methods.feature_fusion import FeatureFusionOptions
from keras_ffl.presets import PRESETS, preset


def changed(assignments):
    return Config().changed(**Config.read(assignments))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_themselves_and_survive_json(name):
    config = preset(name)
    assert config.preset == name
    assert PRESETS[name].__doc__
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_recipes_of_the_paper():
    one = preset("cifar_ffl")
    assert (one.epochs, one.lr_milestones, one.batch_size) == (
        300,
        (150, 225),
        128,
    )
    assert (one.learning_rate, one.lr_factor, one.momentum) == (0.1, 0.1, 0.9)
    assert (one.weight_decay, one.options.fusion_weight_decay) == (1e-4, 1e-5)
    assert (one.options.rampup_epochs, one.options.temperature, one.pad) == (
        80,
        3,
        4,
    )
    assert (one.padding, one.eval_batch_size) == ("reflect", 100)
    dualnet = preset("cifar_ffl_307")
    assert (dualnet.epochs, dualnet.lr_milestones) == (307, (256,))


def test_unknown_preset_lists_the_known():
    with pytest.raises(InputError, match="'fast'.*quickstart.*cifar_ffl"):
        preset("fast")


def test_assignments_are_parsed_by_type():
    config = changed(
        [
            "networks=resnet32,wrn_16_2",
            "lr_milestones=3,5",
            "learning_rate=1e-2",
            "use_ekd=false",
            "fusion_filters=none",
            "epochs=7",
            "dataset=cifar100",
            "data_dir=/a=b",
        ]
    )
    assert config.networks == ("resnet32", "wrn_16_2")
    assert config.lr_milestones == (3, 5)
    assert config.learning_rate == 0.01
    assert config.options.use_ekd is False
    assert config.options.fusion_filters is None
    assert config.epochs == 7
    assert config.data_dir == "/a=b"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "key=value.*'epochs'"),
        ("epoch=3", "'epoch'; known keys:.*batch_size.*epochs"),
        ("epochs=three", "`epochs` must be int, got 'three'"),
        ("epochs=0", "`epochs` must be between 1 and"),
        ("epochs=none", "`epochs` must be int, got 'none'"),
        ("lr_milestones=1,x", "`lr_milestones` must be a comma-separated"),
        ("use_ekd=maybe", "`use_ekd` must be bool, got 'maybe'"),
        ("temperature=0", "`temperature` must be between"),
        ("holdout=1", "`holdout` must be between"),
        ("learning_rate=nan", "`learning_rate` must be between"),
        ("fusion=sum", "`fusion` must be one of module, average, got 'sum'"),
        ("method=dualnet joint_epochs=-1", "`joint_epochs` must be between"),
        ("networks=", "`networks` must name at least one"),
        ("branches=0", "`branches` must be between 1"),
        ("lr_milestones=-1", "`lr_milestones` must be between 0 .*got -1"),
        ("data_dir=", "`data_dir` must be a path, got an empty one"),
        ("method=kd teacher=", "`teacher` must be a path, got an empty one"),
    ],
)
def test_bad_assignments(assignment, message):
    with pytest.raises(InputError, match=message):
        changed(assignment.split())


@pytest.mark.parametrize(
    "name",
    [
        name
        for home in (Config, FeatureFusionOptions)
        for name in home.names()
        if home.default(name) not in ("", None)
        and not isinstance(home.default(name), str)
        and name != "networks"
    ],
)
def test_numbers_of_thousands_of_digits(name):
    for digits in (400, 4000, 5000):
        with pytest.raises(InputError, match=f"`{name}` must") as error:
            changed([f"{name}={'9' * digits}"])
        assert len(str(error.value)) < 250
    for number in (10**400, 10**5000, -(10**5000)):
        value = (number,) if name == "lr_milestones" else number
        with pytest.raises(InputError, match=f"`{name}` must"):
            Config().changed(**{name: value})


def test_wrong_types_in_python():
    with pytest.raises(InputError, match="`epochs` must be int, got 2.5"):
        Config(epochs=2.5)
    with pytest.raises(InputError, match="`networks` must be a tuple of str"):
        Config(networks="resnet8")
    with pytest.raises(InputError, match="`deterministic` must be bool"):
        Config(deterministic=1)


def test_every_field_is_documented():
    for home in (Config, *(row.options for row in METHODS.values())):
        described = "".join(kind.__doc__ for kind in home.__mro__[:-1])
        for name in home.names():
            assert f"        {name}: " in described


def test_a_configuration_without_a_preset():
    assert Config().preset is None
    assert preset("quickstart").preset == "quickstart"
    assert Config(method="dml").options.temperature == 1.0


def test_what_the_last_epoch_comes_too_early_for():
    config = preset("cifar_ffl")
    assert config.beyond_the_end() == []
    assert config.changed(epochs=151).beyond_the_end() == []
    rate, rampup = config.changed(epochs=79).beyond_the_end()
    assert rate.endswith("`lr_milestones` 150, 225 lie beyond `epochs` 79")
    assert rampup.endswith("`rampup_epochs` 80 is longer than `epochs` 79")
    (warmup,) = config.changed(
        epochs=79,
        lr_schedule="cosine",
        warmup_epochs=80.5,
        use_ekd=False,
        use_fkd=False,
    ).beyond_the_end()
    assert "before the full learning rate: `warmup_epochs` 80.5" in warmup


def test_data_that_have_moved():
    config = preset("cifar_small", data_dir="here")
    assert config.with_data_dir(None) is config
    assert config.with_data_dir("there").data_dir == "there"
    with pytest.raises(InputError, match="`data_dir` has no meaning .* digits"):
        preset("quickstart").with_data_dir("there")


def test_options_of_another_method():
    with pytest.raises(InputError, match="must be OneOptions or a dict, got"):
        Config(method="one", options=Config().options)
    with pytest.raises(InputError, match="`use_ekd` has no meaning for method"):
        Config(method="one", options={"use_ekd": True})
    # What both have with the same default is taken over.
    config = Config().changed(temperature=2.0, branches=3, use_ekd=False)
    assert config.changed(method="one").options.temperature == 2.0
    dml = config.changed(method="dml")
    assert (dml.options.temperature, dml.options.branches) == (1.0, 3)
    assert dml.changed(method="vanilla").to_dict().keys() == set(Config.names())
