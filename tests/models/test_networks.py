import keras
import pytest

from keras_ffl import training
from keras_ffl.config import Config
from keras_ffl.errors import InputError
from keras_ffl.models import (
    NETWORKS,
    as_subnetwork,
    build,
    build_branches,
    count_parameters,
    networks,
)


def test_known_names():
    assert list(NETWORKS) == [
        "resnet8",
        "resnet14",
        "resnet20",
        "resnet32",
        "resnet44",
        "resnet56",
        "resnet110",
        "resnet8_2_3_1",
        "resnet14_3_4_2",
        "resnet32_6_7_5",
        "resnet56_10_11_9",
        "wrn_10_1",
        "wrn_10_2",
        "wrn_16_2",
        "wrn_40_2",
        "wrn_28_10",
        "vit_tiny",
        "vit_lite_4",
        "vit_lite_6",
        "imagenet_resnet18",
        "imagenet_resnet34",
        "imagenet_resnet50",
    ]
    for name, architecture in NETWORKS.items():
        assert architecture.name == name


@pytest.mark.parametrize("name", ["resnet14", "wrn_16_2", "imagenet_resnet18"])
def test_builds_the_network_of_that_name(name):
    model = build(name, 5, (16, 16, 1))
    assert model.name == name
    assert model.input_shape == (None, 16, 16, 1)
    assert model.output["logits"].shape == (None, 5)


@pytest.mark.parametrize("name", ["resnet18", "ResNet32", "", None, ["a"]])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        InputError,
        match="`name` must be one of resnet8, .*imagenet_resnet50, got",
    ):
        build(name, 10)


def test_networks_of_ones_own(monkeypatch):
    own = dict.fromkeys(("pooled", "pooled_too"), pooled)
    monkeypatch.setattr(networks, "NETWORKS", NETWORKS | own)
    settings = Config(networks=("pooled",), options={"separate_stages": 0})
    settings.check()
    model = training.build_method(settings, 3, (4, 4, 2))
    assert count_parameters(model.classifier("sub_2")) == 2 * 2 + 2 * 3 + 3
    Config(networks=("pooled", "pooled_too")).check()
    Config(networks=("pooled",), method="ensemble").check()

    branches = "branches that share stages need a network made of stages"
    for method in ("ffl", "one", "pcl"):
        with pytest.raises(InputError, match=f"{branches}.*got 'pooled'"):
            Config(networks=("pooled",), method=method).check()
    with pytest.raises(InputError, match=branches):
        build_branches("pooled", 2, 3)
    with pytest.raises(InputError, match="`networks` must be .*got 'pools'"):
        Config(networks=("resnet8", "pools")).check()


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda m, shape: None, "None"),
        (lambda m, shape: pooled(m + 1, shape), r"float32 \(5,\)"),
        (lambda m, shape: pooled(m, (None, None, 3)), r"\(None, None, 3\) to"),
        (
            lambda m, shape: keras.Sequential(
                [keras.Input(shape), keras.layers.Dense(m)]
            ),
            r"a model from float32 \(4, 4, 3\) to float32 \(4, 4, 4\)",
        ),
    ],
)
def test_functions_that_return_something_else(make, got, monkeypatch):
    monkeypatch.setitem(NETWORKS, "own", make)
    with pytest.raises(InputError, match=rf"^network 'own' must .*{got}"):
        build("own", 4, (4, 4, 3))


def pooled(num_classes, input_shape):
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(2, 1, use_bias=False)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(num_classes)(x)
    return as_subnetwork(keras.Model(image, logits))


def test_stacked_networks_fit_the_pairs_of_table_vi():
    """The 2-net ensembles of mixed pairs have 1.22 M and 3.16 M parameters."""
    for stacked, wide, millions in (
        ("resnet32_6_7_5", "wrn_16_2", 1.22),
        ("resnet56_10_11_9", "wrn_40_2", 3.16),
    ):
        count = sum(count_parameters(build(n, 100)) for n in (stacked, wide))
        assert abs(count / 1e6 - millions) < 0.01
