"""The fusion of tokens, of vectors, and of maps and tokens together."""

import keras
import numpy as np
import pytest
from keras import ops
from support.layer_contract import check_layer, unlike_initial

from keras_ffl.layers import FusionModule

BATCH = 6


# ----- the module in NumPy ----------------------------------------------------


def convolution(x, kernel, stride=1, same=True):
    """Over the tokens of x (batch, tokens, in), kernel (k, in, out)."""
    side = len(kernel)
    if same:
        total = max((-(-x.shape[1] // stride) - 1) * stride + side, 0)
        total = max(total - x.shape[1], 0)
        x = np.pad(x, [(0, 0), (total // 2, total - total // 2), (0, 0)])
    starts = range(0, x.shape[1] - side + 1, stride)
    return np.stack(
        [np.einsum("bkc,kcn->bn", x[:, t : t + side], kernel) for t in starts],
        axis=1,
    )


def block(x, weights, name):
    """Batch normalisation in training, and ReLU."""
    axes = tuple(range(x.ndim - 1))
    x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)
    return np.maximum(
        weights[f"{name}_bn/gamma"] * x + weights[f"{name}_bn/beta"], 0
    )


def fused_tokens(weights, features, adaptations):
    """`adaptations`: for each of them None or stride and "same"."""
    adapted = []
    for k, (x, how) in enumerate(zip(features, adaptations), start=1):
        if how is not None:
            kernel = weights[f"adaptation_{k}/kernel"][:, 0]
            x = convolution(x, kernel, *how)
            x = block(x, weights, f"adaptation_{k}")
        adapted.append(x)
    x = np.concatenate(adapted, axis=-1)
    # A depthwise convolution is one with zeros between the channels.
    kernel = weights["depthwise/kernel"][:, 0, :, 0]
    kernel = kernel[:, :, None] * np.eye(x.shape[-1])
    x = block(convolution(x, kernel), weights, "depthwise")
    x = x @ weights["pointwise/kernel"][0, 0]
    return block(x, weights, "pointwise")


def fused_vectors(weights, features, adaptations):
    x = np.concatenate(features, axis=-1)
    x = block(x * weights["depthwise/kernel"].ravel(), weights, "depthwise")
    return block(x @ weights["pointwise/kernel"][0, 0], weights, "pointwise")


# ----- against it ---------------------------------------------------------


def features_of(*shapes):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(BATCH, *shape)) for shape in shapes]


def built(features, **kwargs):
    """A module with vectors that no initializer gives."""
    module = FusionModule(dtype="float64", **kwargs)
    module.build([x.shape for x in features])
    module.set_weights(unlike_initial(module))
    return module


def weights_of(module):
    return {
        "/".join(v.path.split("/")[-2:]): v.numpy()
        for v in module.trainable_variables
    }


# Shapes, arguments, the reference and its adaptations, by hand.
CASES = {
    "two": ([(5, 3), (5, 2)], {}, fused_tokens, [None, None]),
    "even kernel": (
        [(6, 2), (6, 2), (6, 3)],
        {"kernel_size": 4, "filters": 5},
        fused_tokens,
        [None] * 3,
    ),
    "8 and 4": ([(8, 3), (4, 2)], {}, fused_tokens, [(2, True), None]),
    "7 and 3": ([(3, 2), (7, 2)], {}, fused_tokens, [None, (3, True)]),
    "17 and 16": (
        [(17, 2), (16, 2)],
        {"filters": "sum"},
        fused_tokens,
        [(1, False), None],
    ),
    "vectors": ([(4,), (3,)], {}, fused_vectors, None),
    "three vectors": (
        [(2,), (4,), (3,)],
        {"filters": "sum", "kernel_size": 5},
        fused_vectors,
        None,
    ),
}
cases = pytest.mark.parametrize(
    ("shapes", "kwargs", "reference", "adaptations"),
    CASES.values(),
    ids=CASES,
)


@cases
def test_against_numpy(shapes, kwargs, reference, adaptations):
    features = features_of(*shapes)
    module = built(features, **kwargs)
    expected = reference(weights_of(module), features, adaptations)
    outputs = module(features, training=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)
    assert module.compute_output_shape([x.shape for x in features]) == (
        expected.shape
    )


@cases
def test_gradients_against_numpy(shapes, kwargs, reference, adaptations):
    tf = pytest.importorskip("tensorflow")
    features = features_of(*shapes)
    module = built(features, **kwargs)
    tensors = [tf.constant(x) for x in features]
    weights = weights_of(module)
    rng = np.random.default_rng(3)
    factors = rng.normal(size=reference(weights, features, adaptations).shape)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = ops.sum(factors * module(tensors, training=True))
    variables = [v.value for v in module.trainable_variables]
    gradients = tape.gradient(loss, [*tensors, *variables])
    values = [*features, *weights.values()]
    count = len(features)

    def loss_of(values):
        named = dict(zip(weights, values[count:], strict=True))
        return (factors * reference(named, values[:count], adaptations)).sum()

    for k, gradient in enumerate(gradients):
        direction = rng.normal(size=values[k].shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [*values]
            moved[k] = values[k] + step * direction
            ends.append(loss_of(moved))
        expected = (ends[0] - ends[1]) / 2e-6
        found = float(np.sum(np.asarray(gradient) * direction))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_vectors_are_maps_of_one_position():
    features = features_of((4,), (3,))
    maps = [x[:, None, None] for x in features]
    vectors, spatial = built(features), built(maps)
    for variable, value in weights_of(vectors).items():
        (other,) = (
            v for v in spatial.trainable_variables if v.path.endswith(variable)
        )
        if variable == "depthwise/kernel":
            # The elements that meet padding.
            kernel = np.full(other.shape, 7.0)
            kernel[1, 1] = value[0, 0]
            value = kernel
        other.assign(value)
    np.testing.assert_allclose(
        vectors(features, training=True),
        np.asarray(spatial(maps, training=True))[:, 0, 0],
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize(
    ("shape", "elements"), [((5, 64), 3), ((64,), 1), ((2, 2, 64), 9)]
)
def test_initial_kernel(shape, elements):
    module = FusionModule()
    module([keras.KerasTensor((None, *shape))] * 2)
    kernel = module.depthwise.kernel.numpy()
    assert kernel.size == elements * 128
    deviation = np.sqrt(2 / (elements * 128))
    assert kernel.std() == pytest.approx(deviation, rel=0.2)


# ----- maps and tokens together -------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_tokens_whose_number_is_a_square_are_a_map(training):
    maps = features_of((8, 8, 2), (4, 4, 3), (4, 4, 2))
    features = [maps[0], maps[1].reshape(BATCH, 16, 3), maps[2]]
    one, other = built(maps), built(features)
    for old, new in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(new.shape, old.shape)
        new.assign(old)
    outputs = other(features, training=training)
    assert outputs.shape == (BATCH, 4, 4, 2)
    np.testing.assert_array_equal(outputs, one(maps, training=training))


@pytest.mark.parametrize("training", [True, False])
def test_maps_beside_other_tokens_are_tokens(training):
    tokens = features_of((16, 2), (17, 3), (16, 3))
    features = [tokens[0].reshape(BATCH, 4, 4, 2), *tokens[1:]]
    one, other = built(tokens), built(features)
    for old, new in zip(one.weights, other.weights, strict=True):
        new.assign(old)
    outputs = other(features, training=training)
    assert outputs.shape == (BATCH, 16, 2)
    np.testing.assert_array_equal(outputs, one(tokens, training=training))


RANKS = {
    "tokens": ([(6, 3), (6, 2)], (6, 2), 6),
    "numbers of tokens": ([(6, 3), (4, 2)], (4, 2), 9),
    "vectors": ([(4,), (3,)], (3,), 6),
    "maps and tokens": ([(4, 4, 2), (4, 3)], (2, 2, 2), 9),
    "tokens and maps": ([(5, 3), (2, 3, 2)], (5, 2), 9),
}


@pytest.mark.parametrize(
    ("shapes", "output", "trainable"), RANKS.values(), ids=RANKS
)
def test_contract(shapes, output, trainable, tmp_path):
    check_layer(
        FusionModule,
        tmp_path,
        shapes,
        output,
        trainable=trainable,
        non_trainable=trainable - trainable // 3,
        kernel_size=3,
    )
