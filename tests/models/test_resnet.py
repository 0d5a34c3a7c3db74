import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.models import count_parameters, resnet


@pytest.mark.parametrize(
    "depth, num_classes, parameters",
    [
        (8, 100, 83_892),
        (32, 100, 472_756),
        (32, 10, 466_906),
        (56, 100, 861_620),
        (110, 100, 1_736_564),
    ],
)
def test_parameters(depth, num_classes, parameters):
    model = resnet(depth, num_classes)
    assert count_parameters(model) == parameters
    assert model.name == f"resnet{depth}"


@pytest.mark.parametrize(
    "input_shape, size",
    [((32, 32, 3), (8, 8)), ((16, 16, 1), (4, 4)), ((13, 18, 4), (4, 5))],
)
def test_output_shapes(input_shape, size):
    model = resnet(8, 7, input_shape)
    assert model.input_shape == (None, *input_shape)
    assert model.output.keys() == {"features", "logits"}
    assert model.output["features"].shape == (None, *size, 64)
    assert model.output["logits"].shape == (None, 7)
    outputs = model(np.ones((2, *input_shape), "float32"))
    assert outputs["features"].shape == (2, *size, 64)
    assert outputs["logits"].shape == (2, 7)


def test_logits_are_the_dense_layer_on_the_pooled_features(run):
    model = resnet(8, 5, (8, 8, 3))
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    outputs = run(model, images)
    kernel, bias = model.get_layer("classifier").get_weights()
    expected = outputs["features"].mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5)
    assert outputs["features"].min() >= 0
    assert np.ptp(outputs["logits"]) > 0.1


def test_blocks_per_stage():
    assert resnet(None, 10, blocks_per_stage=1).name == "resnet8"
    equal = resnet(None, 100, blocks_per_stage=[5, 5, 5])
    assert count_parameters(equal) == 472_756
    assert equal.name == "resnet32"

    unequal = resnet(None, 100, blocks_per_stage=(6, 7, 5))
    assert unequal.name == "resnet_6_7_5"
    # One more block of 16 channels, two of 32: two 3x3 convolutions each and
    # the scale and offset of their batch normalisation.
    added = 2 * (9 * 16**2 + 2 * 16) + 2 * 2 * (9 * 32**2 + 2 * 32)
    assert count_parameters(unequal) == 472_756 + added


def test_layer_names():
    names = {layer.name for layer in resnet(14, 3, name="mine").layers}
    assert {
        "image",
        "stem_conv",
        "stem_bn",
        "stem_relu",
        "stage1_block1_conv1",
        "stage2_block1_shortcut_conv",
        "stage2_block1_shortcut_bn",
        "stage3_block2_bn2",
        "stage3_block2_add",
        "stage3_block2_relu2",
        "pooling",
        "classifier",
    } <= names
    assert "stage1_block1_shortcut_conv" not in names
    assert "stage3_block2_shortcut_conv" not in names


@pytest.mark.parametrize("depth", [2, 0, -4, 9, 32.0, "32", True])
def test_bad_depth(depth):
    with pytest.raises(InputError, match=r"`depth` must be 6n\+2 .*8, 14, 20"):
        resnet(depth, 10)


@pytest.mark.parametrize("depth, blocks", [(None, None), (32, 5)])
def test_depth_or_blocks(depth, blocks):
    with pytest.raises(InputError, match="either `depth` or `blocks_per_s"):
        resnet(depth, 10, blocks_per_stage=blocks)


@pytest.mark.parametrize("blocks", [0, (1, 2), (1, 2, 0), "abc", 1.5, False])
def test_bad_blocks(blocks):
    with pytest.raises(InputError, match="`blocks_per_stage` must be an int"):
        resnet(None, 10, blocks_per_stage=blocks)


@pytest.mark.parametrize("num_classes", [0, -3, 2.0, None, True])
def test_bad_num_classes(num_classes):
    with pytest.raises(InputError, match="`num_classes` must be an int >= 1"):
        resnet(8, num_classes)


@pytest.mark.parametrize(
    "input_shape", [(32, 32), 32, (None, None, 3), (0, 4, 3), (8.0, 8, 3)]
)
def test_bad_input_shape(input_shape):
    with pytest.raises(InputError, match=r"`input_shape` must be \(height"):
        resnet(8, 10, input_shape)
