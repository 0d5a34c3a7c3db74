import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.models import count_parameters, wide_resnet


@pytest.mark.parametrize(
    "depth, width, parameters",
    [(16, 2, 703_284), (40, 2, 2_255_156), (28, 10, 36_536_884)],
)
def test_parameters(depth, width, parameters):
    model = wide_resnet(depth, width, num_classes=100)
    assert count_parameters(model) == parameters
    assert model.name == f"wrn_{depth}_{width}"


@pytest.mark.parametrize(
    "input_shape, size", [((32, 32, 3), (8, 8)), ((9, 14, 1), (3, 4))]
)
def test_output_shapes(input_shape, size):
    model = wide_resnet(10, 3, 7, input_shape, name="mine")
    assert model.name == "mine"
    assert model.output.keys() == {"features", "logits"}
    assert model.output["features"].shape == (None, *size, 192)
    assert model.output["logits"].shape == (None, 7)
    outputs = model(np.ones((2, *input_shape), "float32"))
    assert outputs["features"].shape == (2, *size, 192)
    assert outputs["logits"].shape == (2, 7)


def test_features_come_after_the_last_relu():
    model = wide_resnet(10, 1, 3, (8, 8, 3))
    last = model.get_layer("final_relu").output
    assert model.output["features"] is last
    assert model.get_layer("pooling").input is last


def test_shortcut_shares_the_activation_with_the_block():
    model = wide_resnet(10, 2, 3)
    for stage in (1, 2, 3):
        start = model.get_layer(f"stage{stage}_block1_relu1").output
        shortcut = model.get_layer(f"stage{stage}_block1_shortcut_conv")
        assert shortcut.input is start


def test_width_one_keeps_the_first_shortcut_free():
    names = {layer.name for layer in wide_resnet(10, 1, 3).layers}
    assert "stage1_block1_shortcut_conv" not in names
    assert "stage2_block1_shortcut_conv" in names


@pytest.mark.parametrize("depth", [4, 12, 15, None, 16.0])
def test_bad_depth(depth):
    with pytest.raises(InputError, match=r"`depth` must be 6n\+4 .*10, 16, 22"):
        wide_resnet(depth, 2, 10)


@pytest.mark.parametrize("width", [0, 1.5, None, True])
def test_bad_width(width):
    with pytest.raises(InputError, match="`width` must be an int >= 1"):
        wide_resnet(16, width, 10)
