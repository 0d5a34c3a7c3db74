"""Sizes of the paper's models, their parts, and the cost of one pass."""

import pytest

from keras_ffl import FeatureFusionModel
from keras_ffl.models import (
    build,
    build_branches,
    count_multiply_adds,
    count_parameters,
)


def same(name, branches=2, classes=100):
    return FeatureFusionModel.from_branches(
        name, branches, num_classes=classes, rampup_epochs=80
    )


def mixed(*names):
    return FeatureFusionModel([build(name, 100) for name in names], 80)


@pytest.fixture(scope="module")
def resnet32():
    """Two branches of the paper's smallest network, for 100 classes."""
    return same("resnet32")


@pytest.mark.parametrize(
    ("name", "branches", "classes", "golden"),
    [
        ("resnet8", 2, 100, 164_348),
        ("resnet32", 2, 10, 831_598),
        ("resnet32", 3, 100, 1_214_112),
        ("resnet56", 2, 100, 1_533_948),
        ("resnet56", 3, 100, 2_194_848),
        ("resnet110", 2, 100, 3_074_748),
        ("wrn_16_2", 2, 100, 1_290_364),
        ("wrn_40_2", 2, 100, 4_023_932),
    ],
)
def test_case_1(name, branches, classes, golden):
    model = same(name, branches, classes)
    assert count_parameters(model) == golden
    assert model.branches == branches
    assert model.num_classes == classes


@pytest.mark.parametrize(
    ("names", "golden"),
    [
        (("resnet32", "resnet32"), 961_740),
        (("resnet32", "wrn_16_2"), 1_197_068),
        (("resnet56", "wrn_40_2"), 3_137_804),
        (("resnet32", "resnet56", "wrn_16_2"), 2_063_488),
    ],
)
def test_case_2(names, golden):
    model = mixed(*names)
    assert count_parameters(model) == golden
    for k, name in enumerate(names, start=1):
        head = model.classifier(f"sub_{k}")
        assert count_parameters(head) == count_parameters(build(name, 100))


def test_two_branches_of_resnet32(resnet32):
    assert count_parameters(resnet32) == 849_148
    assert count_multiply_adds(resnet32) == 92_285_696
    assert count_multiply_adds(resnet32.classifier("sub_2")) == 69_130_496


def test_a_subnetwork_is_as_large_as_the_vanilla_network(resnet32):
    vanilla = build("resnet32", 100)
    shapes = [weight.shape for weight in vanilla.weights]
    for head in ("sub_1", "sub_2"):
        network = resnet32.classifier(head)
        assert count_parameters(network) == 472_756
        assert [weight.shape for weight in network.weights] == shapes


def test_the_fused_classifier_needs_all_but_the_dense_layers(resnet32):
    dense = 64 * 100 + 100
    size = count_parameters(resnet32.classifier("fused"))
    assert size == 849_148 - 2 * dense
    extractor = resnet32.feature_extractor("fused")
    assert count_parameters(extractor) == size - dense


def test_size_of_the_fusion_group(resnet32):
    fusion = [
        variable.numpy()
        for variable in resnet32.trainable_variables
        if getattr(variable, "decay_group", None) == "fusion"
    ]
    assert len(fusion) == 8
    assert sum(value.size for value in fusion) == 16_228


def test_copies_share_nothing():
    model = FeatureFusionModel.from_copies(
        "resnet32", num_classes=100, rampup_epochs=80
    )
    assert count_parameters(model) == 961_740
    assert model.branches == 2


def test_only_the_stem_can_be_shared():
    subnetworks = build_branches("resnet32", 2, 100, separate_stages=3)
    model = FeatureFusionModel(subnetworks, 80)
    # Once fewer than with nothing shared: 3x3x3x16 and batch normalisation.
    assert count_parameters(model) == 961_740 - (432 + 32)
