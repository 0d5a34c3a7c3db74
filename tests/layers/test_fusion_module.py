"""The fusion module against a forward pass in NumPy."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from support.layer_contract import check_layer, unlike_initial

from keras_ffl.errors import InputError
from keras_ffl.layers import BatchNormalization, FusionModule

EPSILON = 1e-5


def relu(x):
    return np.maximum(x, 0)


def padded(x, kernel, strides):
    """TensorFlow's "same": the odd row or column at the bottom and right."""
    margins = [(0, 0)]
    for size, side, stride in zip(x.shape[1:3], kernel.shape[:2], strides):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        margins.append((total // 2, total - total // 2))
    return np.pad(x, [*margins, (0, 0)])


def windows(x, kernel, strides):
    """Pairs of a kernel element (i, j) and the inputs that it multiplies."""
    side = kernel.shape[:2]
    height, width = (
        (size - k) // stride + 1
        for size, k, stride in zip(x.shape[1:3], side, strides)
    )
    for i, j in itertools.product(*map(range, side)):
        rows = slice(i, i + (height - 1) * strides[0] + 1, strides[0])
        columns = slice(j, j + (width - 1) * strides[1] + 1, strides[1])
        yield kernel[i, j], x[:, rows, columns]


def convolution(x, kernel, strides=(1, 1), same=True):
    x = padded(x, kernel, strides) if same else x
    return sum(part @ k for k, part in windows(x, kernel, strides))


def depthwise(x, kernel):
    x = padded(x, kernel, (1, 1))
    return sum(part * k[:, 0] for k, part in windows(x, kernel, (1, 1)))


def normalization(x, weights, training):
    gamma, beta, mean, variance = weights
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def reference(module, maps, adaptations, training):
    """`adaptations`: per map None or (strides, same) of its convolution."""
    adapted = []
    for x, layers, how in zip(maps, module.adaptations, adaptations):
        assert bool(layers) == (how is not None)
        if how is not None:
            x = convolution(x, layers[0].kernel.numpy(), *how)
            x = relu(normalization(x, layers[1].get_weights(), training))
        adapted.append(x)
    x = np.concatenate(adapted, axis=-1)
    x = depthwise(x, module.depthwise.kernel.numpy())
    x = normalization(x, module.depthwise_bn.get_weights(), training)
    x = convolution(relu(x), module.pointwise.kernel.numpy())
    x = normalization(x, module.pointwise_bn.get_weights(), training)
    return relu(x)


def maps_of(*shapes, batch=3, dtype="float64"):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(batch, *shape)).astype(dtype) for shape in shapes]


def built(maps, dtype="float64", **kwargs):
    """A module whose batch normalisation is not what initializers give."""
    module = FusionModule(dtype=dtype, **kwargs)
    module.build([x.shape for x in maps])
    module.set_weights(unlike_initial(module))
    return module


EQUAL = {
    "two": [(4, 4, 6), (4, 4, 3)],
    "three": [(4, 5, 2), (4, 5, 4), (4, 5, 3)],
    "four": [(3, 3, 2)] * 4,
    "single pixel": [(1, 1, 3), (1, 1, 3)],
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shapes", EQUAL.values(), ids=EQUAL.keys())
def test_equal_sizes_against_numpy(shapes, training):
    maps = maps_of(*shapes)
    module = built(maps)
    expected = reference(module, maps, [None] * len(maps), training)
    channels = min(shape[-1] for shape in shapes)
    assert expected.shape == (3, *shapes[0][:2], channels)
    np.testing.assert_allclose(
        module(maps, training=training), expected, rtol=1e-10, atol=1e-12
    )


# By hand: strides and padding that bring the larger map to the smaller.
DIFFERENT = {
    "8 and 4": ([(8, 8, 3), (4, 4, 2)], [((2, 2), True), None], 3),
    "7 and 3": ([(7, 7, 3), (3, 3, 2)], [((3, 3), True), None], 3),
    "8 and 7": ([(8, 8, 3), (7, 7, 2)], [((1, 1), False), None], 2),
    "14 and 8": ([(8, 8, 2), (14, 14, 3)], [None, ((1, 1), False)], 7),
    "3, 6 and 5": (
        [(3, 3, 2), (6, 6, 2), (5, 5, 2)],
        [None, ((2, 2), True), ((2, 2), True)],
        3,
    ),
    "not square": (
        [(8, 3, 2), (4, 3, 3)],
        [((2, 1), True), None],
        3,
    ),
    "crossed": (
        [(8, 3, 2), (4, 6, 3)],
        [((2, 1), True), ((1, 2), True)],
        3,
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("shapes", "adaptations", "side"), DIFFERENT.values(), ids=DIFFERENT.keys()
)
def test_different_sizes_against_numpy(shapes, adaptations, side, training):
    maps = maps_of(*shapes)
    module = built(maps)
    kernels = [layers[0].kernel for layers in module.adaptations if layers]
    for kernel, shape in zip(
        kernels, [s for s, how in zip(shapes, adaptations) if how]
    ):
        assert kernel.shape == (side, side, shape[-1], shape[-1])
    expected = reference(module, maps, adaptations, training)
    smallest = [min(shape[axis] for shape in shapes) for axis in (0, 1)]
    assert list(expected.shape[1:3]) == smallest
    outputs = module(maps, training=training)
    np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)
    assert module.compute_output_shape([x.shape for x in maps]) == outputs.shape


def test_a_valid_kernel_that_is_not_square():
    maps = maps_of((14, 8, 2), (8, 7, 2))
    module = built(maps)
    assert module.adaptations[0][0].kernel.shape == (7, 2, 2, 2)
    np.testing.assert_allclose(
        module(maps, training=True),
        reference(module, maps, [((1, 1), False), None], True),
        rtol=1e-10,
        atol=1e-12,
    )


def test_filters_and_kernel_size():
    maps = maps_of((5, 5, 2), (5, 5, 3))
    module = built(maps, filters=7, kernel_size=5)
    assert module.depthwise.kernel.shape == (5, 5, 5, 1)
    expected = reference(module, maps, [None, None], True)
    assert expected.shape[-1] == 7
    np.testing.assert_allclose(
        module(maps, training=True), expected, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    ("filters", "channels"), [("sum", 9), ("min", 2), (None, 2)]
)
def test_filters_from_the_maps(filters, channels):
    maps = maps_of((5, 5, 3), (5, 5, 2), (5, 5, 4))
    module = built(maps, filters=filters)
    assert module.pointwise.kernel.shape == (1, 1, 9, channels)
    expected = reference(module, maps, [None] * 3, True)
    outputs = module(maps, training=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)
    assert outputs.shape == (3, 5, 5, channels)
    assert module.compute_output_shape([x.shape for x in maps]) == outputs.shape


def test_float32_on_the_fused_kernel():
    maps = maps_of((8, 8, 6), (4, 4, 3), dtype="float32")
    module = built(maps, "float32")
    wide = [x.astype("float64") for x in maps]
    np.testing.assert_allclose(
        module(maps, training=True),
        reference(module, wide, [((2, 2), True), None], True),
        rtol=1e-4,
        atol=1e-5,
    )


def test_initial_weights():
    maps = [keras.KerasTensor((None, 8, 8, 64))] * 2
    module = FusionModule()
    module(maps)
    kernel = module.depthwise.kernel.numpy()
    assert kernel.shape == (3, 3, 128, 1)
    assert kernel.std() == pytest.approx(0.0417, rel=0.05)
    # A truncated normal distribution ends at two standard deviations.
    assert np.abs(kernel).max() > 2.5 * 0.0417
    kernel = module.pointwise.kernel.numpy()
    assert kernel.shape == (1, 1, 128, 64)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 64), rel=0.03)
    for layer in (module.depthwise_bn, module.pointwise_bn):
        assert isinstance(layer, BatchNormalization)
        assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_gradients_reach_weights_and_maps():
    tf = pytest.importorskip("tensorflow")
    maps = [tf.constant(x) for x in maps_of((8, 8, 3), (4, 4, 2))]
    module = built(maps)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = ops.sum(module(maps, training=True) ** 2)
    weights = [variable.value for variable in module.trainable_variables]
    gradients = tape.gradient(loss, [*maps, *weights])
    for gradient in gradients:
        assert np.abs(gradient).max() > 1e-6


def test_unknown_but_equal_sizes():
    inputs = [
        keras.Input((None, None, channels), dtype="float64")
        for channels in (3, 2)
    ]
    module = FusionModule(dtype="float64")
    model = keras.Model(inputs, module(inputs))
    assert model.output_shape == (None, None, None, 2)
    maps = maps_of((5, 4, 3), (5, 4, 2))
    np.testing.assert_allclose(
        model(maps), reference(module, maps, [None] * 2, False), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("filters", "kernel_size", "channels"),
    [(None, 3, 2), ("sum", 3, 5), (5, 1, 5)],
)
def test_contract(filters, kernel_size, channels, tmp_path):
    check_layer(
        FusionModule,
        tmp_path,
        [(8, 8, 3), (4, 4, 2)],
        (4, 4, channels),
        trainable=9,
        non_trainable=6,
        filters=filters,
        kernel_size=kernel_size,
    )


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([(None, 8, 8, 3)], r"two feature maps, got .* \[\(None, 8, 8, 3\)\]"),
        ([], "two feature maps, got the input shape None"),
        (
            [(None, 8, 8, 3), (None,)],
            r"feature map 2 must be .*, .* got shape \(None,\)",
        ),
        (
            [(None, 8, 8, None), (None, 8, 8, 3)],
            r"feature map 1 must be .*, C\) with known channels",
        ),
        (
            [(None, None, 8, 3), (None, 8, 8, 3)],
            "different or unknown sizes need known heights and widths",
        ),
    ],
)
def test_bad_maps(maps, message):
    with pytest.raises(InputError, match=f"FusionModule.*{message}"):
        FusionModule()([keras.KerasTensor(shape) for shape in maps])


@pytest.mark.parametrize("value", [0, -1, 2.0, "4", True])
@pytest.mark.parametrize("name", ["filters", "kernel_size"])
def test_bad_arguments(name, value):
    with pytest.raises(InputError, match=f"`{name}` must be an int >= 1"):
        FusionModule(**{name: value})


@pytest.mark.parametrize("value", ["max", "", b"sum", ["sum"]])
def test_unknown_filters(value):
    message = "`filters` must be an int >= 1, 'min', 'sum' or None, got "
    with pytest.raises(InputError, match=message):
        FusionModule(value)


@pytest.mark.parametrize("value", [None, "min"])
def test_kernel_size_is_needed(value):
    with pytest.raises(InputError, match="`kernel_size` must be an int >= 1, "):
        FusionModule(kernel_size=value)
