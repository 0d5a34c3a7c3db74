import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.models import (
    build,
    build_branches,
    count_multiply_adds,
    count_parameters,
)


def _together(models):
    return keras.Model(models[0].input, [model.output for model in models])


def test_first_stages_are_the_same_layers():
    first, second, third = build_branches("resnet8", 3, 10)
    assert first.input is second.input is third.input
    for one, other in ((first, second), (second, third)):
        shared = {id(layer) for layer in one.layers} & {
            id(layer) for layer in other.layers
        }
        names = {layer.name for layer in one.layers if id(layer) in shared}
        assert {"stem_conv", "stage1_block1_bn2"} <= names
        assert "stage2_block1_relu2" in names
        assert not any("stage3" in name for name in names)
        assert not any(name.startswith("branch") for name in names)
    own = [layer.name for layer in second.layers if "stem" not in layer.name]
    assert "branch2_stage3_block1_bn2" in own
    assert "branch2_classifier" in own
    assert [model.name for model in (first, second, third)] == [
        "resnet8_branch1",
        "resnet8_branch2",
        "resnet8_branch3",
    ]


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_2"])
@pytest.mark.parametrize("separate_stages", [1, 2, 3])
def test_separate_stages(name, separate_stages):
    models = build_branches(name, 2, 10, separate_stages=separate_stages)
    together = _together(models)
    names = [layer.name for layer in together.layers]
    assert len(set(names)) == len(names)
    for stage in (1, 2, 3):
        separate = stage > 3 - separate_stages
        assert (f"stage{stage}_block1_conv1" in names) == (not separate)
        assert (f"branch1_stage{stage}_block1_conv1" in names) == separate
        assert (f"branch2_stage{stage}_block1_conv1" in names) == separate
    assert "stem_conv" in names
    assert ("branch2_final_bn" in names) == (name == "wrn_16_2")


def test_trunk_is_computed_once():
    models = build_branches("resnet8", 3, 100)
    end = models[0].get_layer("stage2_block1_relu2").output
    trunk = count_multiply_adds(keras.Model(models[0].input, end))
    alone = count_multiply_adds(models[0])
    assert 0 < trunk < alone
    assert count_multiply_adds(_together(models)) == 3 * alone - 2 * trunk


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_2"])
def test_a_branch_is_the_vanilla_network(name, run):
    branch = build_branches(name, 2, 10, (16, 16, 3), separate_stages=2)[1]
    vanilla = build(name, 10, (16, 16, 3))
    assert count_parameters(branch) == count_parameters(vanilla)
    branch.set_weights(
        [
            weight + np.random.default_rng(0).uniform(0, 0.1, weight.shape)
            for weight in branch.get_weights()
        ]
    )
    vanilla.set_weights(branch.get_weights())
    images = np.random.default_rng(0).normal(size=(3, 16, 16, 3))
    expected = run(vanilla, images)
    outputs = run(branch, images)
    assert outputs.keys() == {"features", "logits"}
    for key in outputs:
        np.testing.assert_allclose(outputs[key], expected[key], rtol=1e-5)


def test_gradients_of_one_branch_spare_the_other():
    models = build_branches("resnet8", 2, 4, (8, 8, 3))
    together = keras.Model(models[0].input, models[1].output["logits"])
    names = {weight.path.split("/")[0] for weight in together.weights}
    assert "stem_conv" in names and "branch2_classifier" in names
    assert not any(name.startswith("branch1") for name in names)


@pytest.mark.parametrize("branches", [1, 0, 2.0, None])
def test_bad_branches(branches):
    with pytest.raises(InputError, match="`branches` must be an int >= 2"):
        build_branches("resnet8", branches, 10)


@pytest.mark.parametrize("separate_stages", [0, 4, 1.0])
def test_bad_separate_stages(separate_stages):
    with pytest.raises(
        InputError, match="`separate_stages` must be an int from 1 to 3, got"
    ):
        build_branches("resnet8", 2, 10, separate_stages=separate_stages)


def test_unknown_name():
    with pytest.raises(InputError, match="`name` must be one of resnet8"):
        build_branches("vgg", 2, 10)
