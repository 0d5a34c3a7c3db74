import math

import keras
import numpy as np
import pytest

from keras_ffl.layers import BatchNormalization
from keras_ffl.models import build, build_branches, resnet
from keras_ffl.models.components import convolution


def _weights(model, kind):
    return {
        layer.name: layer.get_weights()
        for layer in model.layers
        if isinstance(layer, kind)
    }


def _numpy_convolution(images, kernel, strides):
    """3x3 convolution with one zero on every side, by its definition."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = range(0, images.shape[1], strides)
    columns = range(0, images.shape[2], strides)
    return np.stack(
        [
            np.stack(
                [
                    np.einsum(
                        "nhwc,hwcd->nd",
                        padded[:, row : row + 3, column : column + 3],
                        kernel,
                    )
                    for column in columns
                ],
                axis=1,
            )
            for row in rows
        ],
        axis=1,
    )


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(6, 4), (7, 5)])
def test_convolution_is_padded_alike_on_all_sides(strides, size, run):
    image = keras.Input((*size, 2))
    model = keras.Model(image, convolution(image, 3, 3, strides, name="conv"))
    images = np.random.default_rng(0).normal(size=(2, *size, 2))
    (kernel,) = model.get_layer("conv").get_weights()
    np.testing.assert_allclose(
        run(model, images),
        _numpy_convolution(images, kernel, strides),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["resnet20", "wrn_16_2"])
def test_convolution_kernels(name):
    kernels = _weights(build(name, 10), keras.layers.Conv2D)
    drawn = []
    for (kernel,) in kernels.values():
        side, _, _, filters = kernel.shape
        drawn.append(kernel.ravel() / math.sqrt(2 / (side**2 * filters)))
    for scaled in drawn:
        # Five standard errors of a mean and of a standard deviation.
        assert abs(scaled.mean()) < 5 / math.sqrt(scaled.size)
        assert abs(scaled.std() - 1) < 5 / math.sqrt(2 * scaled.size)
    scaled = np.concatenate(drawn)
    # A truncated normal has none beyond two deviations; this has 4.55 %.
    assert np.mean(np.abs(scaled) > 2) == pytest.approx(0.0455, abs=0.003)
    assert len({kernel.ravel()[0] for (kernel,) in kernels.values()}) == len(
        kernels
    )


def test_classifier_weights():
    model = build("resnet8", 1000)
    for weight in model.get_layer("classifier").get_weights():
        bound = 1 / math.sqrt(64)
        assert np.abs(weight).max() <= bound
        assert weight.min() < -0.99 * bound and weight.max() > 0.99 * bound
        assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_branches_draw_their_own_weights():
    first, second = build_branches("resnet8", 2, 10)
    for layer in ("stage3_block1_conv1", "classifier"):
        one = first.get_layer(f"branch1_{layer}").get_weights()[0]
        other = second.get_layer(f"branch2_{layer}").get_weights()[0]
        assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_2"])
def test_batch_normalization_everywhere(name):
    layers = [
        layer
        for layer in build(name, 10).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == {"resnet8": 9, "wrn_16_2": 13}[name]
    for layer in layers:
        assert type(layer) is BatchNormalization
        assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


@pytest.mark.parametrize(
    "policy, features, logits",
    [
        ("float32", "float32", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
        ("float64", "float64", "float64"),
    ],
)
def test_dtypes(policy, features, logits):
    keras.config.set_dtype_policy(policy)
    model = resnet(8, 3, (8, 8, 3))
    outputs = model(np.ones((2, 8, 8, 3), "float32"))
    for each in (model.output, outputs):
        assert keras.backend.standardize_dtype(each["features"].dtype) == (
            features
        )
        assert keras.backend.standardize_dtype(each["logits"].dtype) == logits
    assert np.all(np.isfinite(keras.ops.convert_to_numpy(outputs["logits"])))
