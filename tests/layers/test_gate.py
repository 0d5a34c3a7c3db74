"""ONE's gate against NumPy."""

import keras
import numpy as np
import pytest
from support.layer_contract import check_layer

from keras_ffl.errors import InputError
from keras_ffl.layers import Gate


def maps(samples=6, channels=5):
    rng = np.random.default_rng(0)
    return rng.normal(1.0, 2.0, (samples, 3, 2, channels)).astype("float32")


def built(branches=3, channels=5, **kwargs):
    """A gate whose weights are not what initializers give."""
    layer = Gate(branches, **kwargs)
    layer.build((None, 3, 2, channels))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in layer.weights])
    layer.dense.kernel.assign(rng.normal(size=(channels, branches)))
    return layer


def reference(layer, x, mean=None, variance=None):
    """Weights, mean and unbiased variance in float64.

    The statistics are those of the batch where none are given.
    """
    kernel, bias = (
        np.float64(w) for w in (layer.dense.kernel, layer.dense.bias)
    )
    z = x.mean(axis=(1, 2), dtype="float64") @ kernel + bias
    unbiased = z.var(axis=0, ddof=1)
    if mean is None:
        mean, variance = z.mean(axis=0), z.var(axis=0)
    bn = layer.normalization
    z = (z - mean) / np.sqrt(variance + 1e-5)
    z = np.maximum(np.float64(bn.gamma) * z + np.float64(bn.beta), 0)
    weights = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    return weights, mean, unbiased


@pytest.mark.parametrize("branches", [2, 3])
def test_inference_against_numpy(branches):
    layer, x = built(branches), maps()
    bn = layer.normalization
    mean, variance = bn.moving_mean.numpy(), bn.moving_variance.numpy()
    weights = np.asarray(layer(x, training=False))
    expected, *_ = reference(layer, x, mean, variance)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-7)
    # The rectifier cuts off some of them, which makes them equal.
    assert len(np.unique(weights)) < weights.size
    np.testing.assert_array_equal(bn.moving_mean.numpy(), mean)
    np.testing.assert_array_equal(bn.moving_variance.numpy(), variance)


def test_training_against_numpy():
    layer, x = built(), maps()
    bn = layer.normalization
    old_mean, old_variance = bn.moving_mean.numpy(), bn.moving_variance.numpy()
    expected, mean, variance = reference(layer, x)
    np.testing.assert_allclose(
        layer(x, training=True), expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        bn.moving_mean.numpy(), 0.9 * old_mean + 0.1 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        bn.moving_variance.numpy(),
        0.9 * old_variance + 0.1 * variance,
        rtol=1e-5,
    )


@pytest.mark.parametrize("training", [True, False])
def test_tokens_and_vectors(training):
    layer, x = built(), maps()
    expected = layer(x, training=training)
    tokens = x.reshape(6, 6, 5)
    for other in (tokens, x.mean(axis=(1, 2))):
        again = built()
        np.testing.assert_allclose(
            again(other, training=training), expected, rtol=1e-5, atol=1e-6
        )


def test_initial_weights():
    layer = Gate(100)
    layer.build((None, 4, 4, 25))
    for weight in (layer.dense.kernel, layer.dense.bias):
        value = weight.numpy()
        # Uniform in ±1/sqrt(25).
        assert 0.18 < np.abs(value).max() <= 0.2
        assert value.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.15)
    assert len(layer.trainable_weights) == 4
    assert len(layer.non_trainable_weights) == 2


@pytest.mark.parametrize("shape", [(3, 2, 5), (6, 5), (5,)])
def test_contract(shape, tmp_path):
    check_layer(
        Gate,
        tmp_path,
        shape,
        (3,),
        trainable=4,
        non_trainable=2,
        least_float32=True,
        branches=3,
    )


@pytest.mark.parametrize(
    ("policy", "exact"),
    [("mixed_float16", 1e-6), ("mixed_bfloat16", 1e-6), ("float64", 1e-15)],
)
@pytest.mark.parametrize("training", [True, False])
def test_weights_sum_to_one(policy, exact, training):
    weights = built(dtype=policy)(maps(), training=training)
    np.testing.assert_allclose(
        np.asarray(weights).sum(axis=-1), 1, rtol=0, atol=exact
    )


@pytest.mark.parametrize("branches", [1, 0, -2, True, 2.0, "2", None])
def test_bad_branches(branches):
    with pytest.raises(InputError) as error:
        Gate(branches)
    assert str(error.value) == (
        f"`branches` must be an int >= 2, got {branches!r}"
    )


@pytest.mark.parametrize(
    "shape", [(None,), (None, 4, 4, 4, 5), (None, 4, 4, None)]
)
def test_bad_input(shape):
    with pytest.raises(InputError, match=r"\(batch, C\) with .*, got shape"):
        Gate(2)(keras.KerasTensor(shape))
