"""Batch normalisation, fused and plain, against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops
from support.layer_contract import check_layer

from keras_ffl.errors import InputError
from keras_ffl.layers import BatchNormalization
from keras_ffl.layers.batch_normalization import synchronized_batch_norm

tf = pytest.importorskip("tensorflow")

SHAPES = {"4-D": (4, 3, 5, 6), "2-D": (12, 6), "3-D": (4, 7, 6)}


def images(shape=SHAPES["4-D"], seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    scale = np.linspace(0.5, 4.0, shape[-1])
    return (rng.normal(size=shape) * scale + scale[::-1]).astype(dtype)


def reference(x, gamma, beta, epsilon=1e-5):
    """Outputs, mean and unbiased variance in float64."""
    x = np.asarray(x, "float64")
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    outputs = gamma * (x - mean) / np.sqrt(variance + epsilon) + beta
    return outputs, mean, x.var(axes, ddof=1)


def built(shape, dtype=None, **kwargs):
    """A layer whose weights are not what initializers give."""
    layer = BatchNormalization(dtype=dtype, **kwargs)
    layer.build(shape)
    rng = np.random.default_rng(9)
    layer.set_weights(
        [rng.uniform(0.5, 2.0, weight.shape) for weight in layer.weights]
    )
    return layer


def plain(layer, monkeypatch):
    monkeypatch.setattr(layer, "_uses_fused_kernel", lambda *_: False)
    return layer


def check_against_numpy(layer, x, tolerance):
    gamma, beta, mean, variance = layer.get_weights()
    outputs, batch_mean, batch_variance = reference(x, gamma, beta)
    np.testing.assert_allclose(
        layer(x, training=True), outputs, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(
        layer.moving_mean.numpy(),
        0.9 * mean + 0.1 * batch_mean,
        rtol=tolerance,
    )
    np.testing.assert_allclose(
        layer.moving_variance.numpy(),
        0.9 * variance + 0.1 * batch_variance,
        rtol=tolerance,
    )
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    np.testing.assert_allclose(
        layer(x, training=False),
        gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta,
        rtol=tolerance,
        atol=tolerance,
    )
    # Inference leaves the statistics alone.
    np.testing.assert_array_equal(layer.moving_mean.numpy(), mean)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), variance)


def test_which_inputs_are_fused():
    layer = built((None, 4, 4, 2))
    for dtype in ("float32", "float16", "bfloat16"):
        assert layer._uses_fused_kernel(ops.zeros((1, 4, 4, 2), dtype))
    assert not layer._uses_fused_kernel(ops.zeros((1, 4, 4, 2), "float64"))
    assert not layer._uses_fused_kernel(ops.zeros((1, 2)))


def test_fused_against_numpy():
    check_against_numpy(built(SHAPES["4-D"]), images(), 2e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_plain_in_float64_against_numpy(shape):
    x = images(shape, dtype="float64")
    check_against_numpy(built(shape, "float64"), x, 1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_plain_in_float32_against_numpy(shape, monkeypatch):
    layer = plain(built(shape), monkeypatch)
    check_against_numpy(layer, images(shape), 3e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    # On a single thread the kernel rounds more than on several: it adds up a
    # channel in one go.
    ("dtype", "tolerance"),
    [("float64", 1e-5), ("float32", 2e-5)],
)
def test_fused_and_plain_agree(dtype, tolerance, training, monkeypatch):
    fused = built(SHAPES["4-D"])
    other = plain(built(SHAPES["4-D"], dtype), monkeypatch)
    assert fused._uses_fused_kernel(images())
    values = []
    for layer, kind in ((fused, "float32"), (other, dtype)):
        x, weights = tf.constant(images()), tf.constant(images(seed=1))
        x, weights = tf.cast(x, kind), tf.cast(weights, kind)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=training)
            loss = ops.sum(weights * outputs**2)
        variables = [v.value for v in layer.trainable_variables]
        assert len(variables) == 2
        gradients = tape.gradient(loss, [x, *variables])
        values.append([outputs, *gradients, *layer.get_weights()])
    for one, two in zip(*values):
        scale = np.abs(two).max()
        np.testing.assert_allclose(one / scale, two / scale, atol=tolerance)


def test_gradient_against_finite_differences():
    x = images((3, 2, 2, 2), dtype="float64")
    layer = built(x.shape, "float64")
    weights = images((3, 2, 2, 2), seed=1, dtype="float64")
    gamma, beta = layer.get_weights()[:2]

    def loss(values):
        return np.sum(weights * reference(values, gamma, beta)[0] ** 2)

    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = ops.sum(weights * layer(tensor, training=True) ** 2)
    gradient = tape.gradient(value, tensor).numpy()
    assert float(value) == pytest.approx(loss(x), rel=1e-12)
    for index in [(0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 1, 0)]:
        step = np.zeros_like(x)
        step[index] = 1e-5
        slope = (loss(x + step) - loss(x - step)) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", [None, "float64"], ids=["fused", "plain"])
def test_frozen_layers_use_and_keep_their_statistics(dtype):
    x = images(dtype=dtype or "float32")
    layer = built(x.shape, dtype)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(
        layer(x, training=True), layer(x, training=False)
    )
    for old, new in zip(before, layer.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("training", [None, False])
def test_inference_is_the_default(training):
    layer = BatchNormalization()
    x = images()
    np.testing.assert_allclose(
        layer(x, training=training), x / np.sqrt(1 + 1e-5), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)],
)
@pytest.mark.parametrize("kind", ["fused", "plain"])
def test_mixed_precision(policy, tolerance, kind, monkeypatch):
    dtype = policy.removeprefix("mixed_")
    # Rounded once, so that the reference sees what the layer sees.
    x = ops.cast(images(), dtype)
    layer = built(x.shape, policy)
    if kind == "plain":
        plain(layer, monkeypatch)
    gamma, beta, mean, variance = layer.get_weights()
    rounded = ops.convert_to_numpy(ops.cast(x, "float32"))
    outputs, batch_mean, batch_variance = reference(rounded, gamma, beta)
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_allclose(
        ops.cast(y, "float32"), outputs, rtol=tolerance, atol=tolerance
    )
    # Weights and statistics are float32, whatever passes through.
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    np.testing.assert_allclose(
        layer.moving_mean.numpy(), 0.9 * mean + 0.1 * batch_mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        layer.moving_variance.numpy(),
        0.9 * variance + 0.1 * batch_variance,
        rtol=1e-5,
    )


@pytest.mark.parametrize("kind", ["fused", "plain"])
def test_a_single_value_per_channel_stays_finite(kind, monkeypatch):
    layer = BatchNormalization()
    if kind == "plain":
        plain(layer, monkeypatch)
    x = tf.constant(images((1, 1, 1, 3)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = ops.sum(outputs * outputs + outputs)
    np.testing.assert_array_equal(outputs, 0)
    assert np.isfinite(tape.gradient(loss, x)).all()
    np.testing.assert_allclose(
        layer.moving_mean.numpy(), 0.1 * x.numpy().ravel(), rtol=1e-6
    )
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9, rtol=1e-6)


def test_without_scale_and_center():
    x = images()
    layer = BatchNormalization(scale=False, center=False)
    outputs, *_ = reference(x, 1.0, 0.0)
    np.testing.assert_allclose(
        layer(x, training=True), outputs, rtol=2e-6, atol=2e-6
    )
    assert layer.trainable_variables == []


@pytest.mark.parametrize("jit_compile", [True, False])
def test_fused_in_a_compiled_function(jit_compile):
    x = images()
    layer = built(x.shape)
    expected = built(x.shape)
    function = tf.function(layer, jit_compile=jit_compile, autograph=False)
    np.testing.assert_allclose(
        function(x, training=True),
        expected(x, training=True),
        rtol=1e-5,
        atol=1e-5,
    )
    for one, two in zip(layer.get_weights(), expected.get_weights()):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_unknown_batch_and_image_sizes():
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, BatchNormalization()(inputs))
    assert model.output_shape == (None, None, None, 6)
    x = images()
    np.testing.assert_allclose(
        model(x, training=True), reference(x, 1, 0)[0], rtol=2e-6, atol=2e-6
    )


def test_defaults():
    layer = BatchNormalization()
    assert (layer.momentum, layer.epsilon, layer.axis) == (0.9, 1e-5, -1)


@pytest.mark.parametrize("shape", [(3, 5, 6), (7, 6), (6,)])
def test_contract(shape, tmp_path):
    check_layer(
        BatchNormalization,
        tmp_path,
        shape,
        shape,
        trainable=2,
        non_trainable=2,
        momentum=0.7,
        epsilon=1e-3,
        synchronized=True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"renorm": True}, "`renorm` must be False .* got True"),
        ({"axis": 1}, r"`axis` must be -1 \(channels last\), got 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        BatchNormalization(**arguments)


def test_synchronized_by_default_within_its_context():
    assert not BatchNormalization().synchronized
    with synchronized_batch_norm():
        layer = BatchNormalization()
        assert not BatchNormalization(synchronized=False).synchronized
        with synchronized_batch_norm(False):
            assert not BatchNormalization().synchronized
    assert layer.synchronized
    assert not BatchNormalization().synchronized
    restored = BatchNormalization.from_config(layer.get_config())
    assert restored.synchronized


def test_synchronized_on_one_device_changes_nothing():
    x = images()
    plain, synchronized = (
        BatchNormalization(synchronized=value) for value in (False, True)
    )
    np.testing.assert_array_equal(
        plain(x, training=True), synchronized(x, training=True)
    )
