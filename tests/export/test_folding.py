"""Folded batch normalisation against the layers themselves."""

import keras
import numpy as np
import pytest
from support.builders import METHODS, moved

from keras_ffl.export.folding import fold_batch_normalization
from keras_ffl.export.stock import inference_classifier

LAYERS = keras.layers


def normalization(**options):
    return LAYERS.BatchNormalization(
        epsilon=0.01,
        beta_initializer=keras.initializers.RandomNormal(seed=1),
        gamma_initializer=keras.initializers.RandomUniform(0.5, 2, seed=2),
        moving_mean_initializer=keras.initializers.RandomNormal(seed=3),
        moving_variance_initializer=keras.initializers.RandomUniform(
            0.5, 2, seed=4
        ),
        **options,
    )


def convolution(**options):
    return LAYERS.Conv2D(
        4, 3, bias_initializer=keras.initializers.RandomNormal(), **options
    )


def count(model):
    return sum(isinstance(x, LAYERS.BatchNormalization) for x in model.layers)


def check(image, outputs, left, shape=(6, 6, 4)):
    """Folds a model and counts the normalisations that are left."""
    model = keras.Model(image, outputs)
    folded = fold_batch_normalization(model)
    assert count(folded) == left
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(
        folded(x, training=False), expected, rtol=2e-6, atol=2e-6
    )
    return model, folded


@pytest.mark.parametrize(
    "before",
    [
        convolution(),
        convolution(use_bias=False, strides=2, padding="same"),
        convolution(groups=2, dilation_rate=2),
        LAYERS.DepthwiseConv2D(3, depth_multiplier=2),
        LAYERS.Dense(3, use_bias=False),
    ],
    ids=["bias", "strides", "groups", "depthwise", "dense"],
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_is_part_of_the_layer_before_it(before, options):
    image = keras.Input((6, 6, 4))
    before = type(before).from_config(before.get_config())
    x = normalization(**options)(before(image))
    model, folded = check(image, LAYERS.ReLU()(x), left=0)
    assert len(folded.layers) == len(model.layers) - 1


@pytest.mark.parametrize(
    "before",
    [
        LAYERS.Conv1D(4, 3, groups=2),
        LAYERS.Conv1D(4, 3, use_bias=False, strides=2, padding="same"),
        LAYERS.DepthwiseConv1D(3, depth_multiplier=2),
        LAYERS.Dense(3),
    ],
    ids=["groups", "strides", "depthwise", "dense"],
)
def test_tokens(before):
    tokens = keras.Input((9, 4))
    before = type(before).from_config(before.get_config())
    x = normalization()(before(tokens))
    check(tokens, LAYERS.ReLU()(x), left=0, shape=(9, 4))


def test_masked_tokens():
    tokens = keras.Input((9, 4))
    x = LAYERS.Dense(3)(LAYERS.Masking(-9.0)(tokens))
    check(tokens, LAYERS.ReLU()(normalization()(x)), left=0, shape=(9, 4))


def test_layers_called_by_keyword():
    image = keras.Input((6, 6, 4))
    x = normalization()(inputs=convolution()(inputs=image))
    check(image, x, left=0)


def test_what_can_not_be_folded():
    image = keras.Input((6, 6, 4))
    # Nothing before it, an activation between, another use of the output, a
    # layer with two inputs to normalise, one normalisation for two layers.
    x = normalization()(image)
    x = normalization()(convolution(activation="relu", padding="same")(x))
    both = convolution(padding="same")(x)
    x = LAYERS.Add()([normalization()(both), both])
    twice = convolution(padding="same")
    x = LAYERS.Add()([normalization()(twice(x)), normalization()(twice(x))])
    shared = normalization()
    x = LAYERS.Add()([shared(convolution()(x)), shared(convolution()(x))])
    check(image, x, left=6)


@pytest.mark.parametrize("method", METHODS)
def test_every_head(method):
    model = moved(METHODS[method]())
    x = np.random.default_rng(1).normal(size=(6, *model.input_shape[1:]))
    for head in model.heads:
        classifier = model.classifier(head)
        before = classifier.get_weights()
        folded = inference_classifier(classifier)
        assert count(folded) == 0
        np.testing.assert_allclose(
            folded(x, training=False),
            classifier(x, training=False),
            rtol=1e-5,
            atol=1e-5,
        )
        for old, new in zip(before, classifier.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_half_precision_stays_as_it_is():
    image = keras.Input((6, 6, 4))
    x = LAYERS.Conv2D(4, 3, dtype="mixed_bfloat16")(image)
    classifier = keras.Model(image, LAYERS.BatchNormalization()(x))
    assert inference_classifier(classifier) is classifier


class _WithoutConfiguration(LAYERS.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


@pytest.mark.parametrize(
    "layer",
    [
        lambda: _WithoutConfiguration(2.0),
        lambda: LAYERS.Lambda(lambda x: 2.0 * x),
    ],
    ids=["custom", "lambda"],
)
def test_layers_that_can_not_be_copied_stay(layer, caplog):
    image = keras.Input((6, 6, 4))
    x = normalization()(convolution()(image))
    classifier = keras.Model(image, layer()(x), name="mine")
    assert inference_classifier(classifier) is classifier
    assert "mine: batch norm is not folded" in caplog.text
