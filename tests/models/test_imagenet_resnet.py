import dataclasses

import keras
import numpy as np
import pytest

from keras_ffl.config import Config
from keras_ffl.errors import InputError
from keras_ffl.models import (
    build_branches,
    count_multiply_adds,
    count_parameters,
    imagenet_resnet,
)
from keras_ffl.models.imagenet_resnet import imagenet_resnet_architecture
from keras_ffl.presets import preset
from keras_ffl.training import build_method


def _basic_products(blocks):
    """Products of basic blocks at 224x224, by hand."""
    total = 0
    for stage, count in enumerate(blocks):
        side, width = 56 >> stage, 64 << stage
        equal = 9 * width * width
        if stage == 0:
            total += side**2 * 2 * count * equal
        else:
            first = 9 * width // 2 * width + width // 2 * width
            total += side**2 * (first + (2 * count - 1) * equal)
    return total


def _bottleneck_products(blocks):
    """Products of bottlenecks, whose first 1x1 comes before the stride."""
    total, channels, before = 0, 64, 56
    for stage, count in enumerate(blocks):
        side, width = 56 >> stage, 64 << stage
        inner = side**2 * (9 * width * width + 4 * width * width)
        total += before**2 * channels * width + inner
        total += side**2 * channels * 4 * width
        total += (count - 1) * (side**2 * 4 * width * width + inner)
        channels, before = 4 * width, side
    return total


STEM = 112**2 * 49 * 3 * 64
SIZES = {
    18: (11_689_512, STEM + _basic_products((2, 2, 2, 2)) + 512_000, 1.814e9),
    34: (21_797_672, STEM + _basic_products((3, 4, 6, 3)) + 512_000, 3.664e9),
    50: (
        25_557_032,
        STEM + _bottleneck_products((3, 4, 6, 3)) + 2_048_000,
        4.089e9,
    ),
}


@pytest.fixture(scope="module")
def networks():
    return {depth: imagenet_resnet(depth, 1000) for depth in SIZES}


@pytest.mark.parametrize("depth", SIZES)
def test_size_and_cost(networks, depth):
    parameters, products, about = SIZES[depth]
    assert products == pytest.approx(about, rel=2e-4)
    model = networks[depth]
    assert model.name == f"imagenet_resnet{depth}"
    assert model.input_shape == (None, 224, 224, 3)
    channels = 2048 if depth == 50 else 512
    assert model.output["features"].shape == (None, 7, 7, channels)
    assert count_parameters(model) == parameters
    assert count_multiply_adds(model) == products


@pytest.mark.parametrize(
    "depth, parameters", [(18, 24_782_840), (34, 44_334_328), (50, 70_596_600)]
)
def test_feature_fusion_of_two_branches(depth, parameters):
    config = preset(
        "imagenet_resnet34_ffl", networks=(f"imagenet_resnet{depth}",)
    )
    model = build_method(config, 1000, (64, 64, 3))
    assert count_parameters(model) == parameters


def test_fusion_width_of_a_configuration():
    with pytest.raises(InputError, match="`fusion_width` must be one of min"):
        Config(options={"fusion_width": "max"})
    for options, filters in (
        ({}, "min"),
        ({"fusion_width": "sum"}, "sum"),
        ({"fusion_width": "sum", "fusion_filters": 24}, 24),
    ):
        model = build_method(Config(options=options), 3, (8, 8, 1))
        assert model.fusion.filters == filters


def test_branches_that_share_the_stem_alone():
    models = build_branches("imagenet_resnet18", 2, 5, (64, 64, 3), 4)
    together = keras.Model(models[0].input, [m.output for m in models])
    names = [layer.name for layer in together.layers]
    assert len(set(names)) == len(names)
    assert "stem_pooling" in names
    for stage in (1, 2, 3, 4):
        assert f"stage{stage}_block1_conv1" not in names
        assert f"branch2_stage{stage}_block1_conv1" in names
    alone = 11_689_512 - 513 * 995
    assert [count_parameters(model) for model in models] == [alone] * 2
    stem = 49 * 3 * 64 + 2 * 64
    assert count_parameters(together) == 2 * alone - stem


def test_stride_of_a_bottleneck_is_on_its_3x3(networks):
    model = networks[50]
    for stage, side in ((1, 56), (2, 28), (3, 14), (4, 7)):
        before = side if stage == 1 else 2 * side
        for conv, size in (("conv1", before), ("conv2", side), ("conv3", side)):
            layer = model.get_layer(f"stage{stage}_block1_{conv}")
            assert layer.output.shape[1:3] == (size, size)


def test_projections(networks):
    for depth, first in ((18, 2), (34, 2), (50, 1)):
        names = {layer.name for layer in networks[depth].layers}
        for stage in (1, 2, 3, 4):
            name = f"stage{stage}_block1_shortcut_conv"
            assert (name in names) == (stage >= first)
            assert f"stage{stage}_block2_shortcut_conv" not in names


@pytest.mark.parametrize("size", [(32, 20), (21, 18)])
def test_pooling_pads_as_with_minus_infinity(size, run):
    image = keras.Input((*size, 3))
    pooled = imagenet_resnet_architecture(18).stem(image, "")
    stem = keras.Model(image, pooled)
    images = np.random.default_rng(0).normal(size=(2, *size, 3))
    ends = [stem.get_layer("stem_relu").output, pooled]
    x, pooled = run(keras.Model(image, ends), images)
    assert np.mean(x == 0) > 0.2
    margins = ((0, 0), (1, 1), (1, 1), (0, 0))
    padded = np.pad(x, margins, constant_values=-np.inf)
    rows, columns = x.shape[1], x.shape[2]
    expected = np.max(
        [
            padded[:, i : i + rows : 2, j : j + columns : 2]
            for i in range(3)
            for j in range(3)
        ],
        axis=0,
    )
    np.testing.assert_array_equal(pooled, expected)


def test_saves_and_loads(tmp_path, run):
    architecture = imagenet_resnet_architecture(18)
    architecture = dataclasses.replace(
        architecture, stages=architecture.stages[:2]
    )
    model = architecture(5, (33, 48, 1), name="mine")
    images = np.random.default_rng(0).normal(size=(2, 33, 48, 1))
    expected = run(model, images)
    assert expected["features"].shape == (2, 5, 6, 128)
    assert expected["features"].min() >= 0
    assert np.ptp(expected["logits"]) > 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.name == "mine"
    outputs = run(loaded, images)
    for key in ("features", "logits"):
        np.testing.assert_array_equal(outputs[key], expected[key])


def test_name_and_image_shape():
    model = imagenet_resnet(18, 7, [33, 65, 1], name="mine")
    assert model.name == "mine"
    assert model.input_shape == (None, 33, 65, 1)
    assert model.output["features"].shape == (None, 2, 3, 512)
    assert model.output["logits"].shape == (None, 7)


@pytest.mark.parametrize("depth", [20, 101, None, "18", 18.0, True, [18]])
def test_bad_depth(depth):
    with pytest.raises(
        InputError, match="`depth` must be one of 18, 34, 50, got"
    ):
        imagenet_resnet(depth, 1000)
