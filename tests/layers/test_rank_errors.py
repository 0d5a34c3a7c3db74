"""Features whose sizes are unknown, or whose ranks can't be joined."""

import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage, FeatureSum, FusionModule

BATCH = 6


def features_of(*shapes):
    rng = np.random.default_rng(1)
    return [
        rng.normal(size=(BATCH, *shape)).astype("float32") for shape in shapes
    ]


@pytest.mark.parametrize("kind", [FeatureAverage, FeatureSum, FusionModule])
def test_unknown_numbers_of_tokens(kind):
    tf = pytest.importorskip("tensorflow")
    layer = kind()
    inputs = [keras.Input((None, 3)), keras.Input((None, 3))]
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, 3)
    good, bad = (features_of((5, 3), (other, 3)) for other in (5, 4))
    assert model(good).shape == (BATCH, 5, 3)
    message = "networks for images of any size must give one number of tokens"
    with pytest.raises(InputError, match=rf"{message}, got \(5,\), \(4,\)"):
        layer(bad)
    spec = tf.TensorSpec((None, None, 3))
    step = tf.function(
        lambda *features: layer(list(features)), input_signature=[spec] * 2
    )
    np.testing.assert_allclose(step(*good), layer(good), rtol=1e-5, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        step(*bad)


def test_a_step_that_does_not_know_the_sizes_of_maps_and_tokens():
    tf = pytest.importorskip("tensorflow")
    layer = FusionModule()
    layer.build([(None, 4, 4, 2), (None, 4, 3)])
    specs = [tf.TensorSpec((None,) * 3 + (2,)), tf.TensorSpec((None, None, 3))]
    step = tf.function(
        lambda *features: layer(list(features)), input_signature=specs
    )
    good = features_of((4, 4, 2), (4, 3))
    np.testing.assert_allclose(step(*good), layer(good), rtol=1e-5, atol=1e-6)
    bad = features_of((4, 4, 2), (16, 3))
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(*bad)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(None, 4), (None, 4, 4, 4)],
            r" can't join vectors \(batch, C\) with maps or tokens, got "
            r"\(None, 4\), \(None, 4, 4, 4\); pool these before$",
        ),
        ([(None, 9, 4), (None, 4)], " can't join vectors"),
        (
            [(None, None, 4), (None, 4, 4, 4)],
            r" joins maps with a known number of tokens, got \(None, None, 4\)",
        ),
    ],
)
@pytest.mark.parametrize("kind", [FeatureAverage, FeatureSum, FusionModule])
def test_ranks_that_can_not_be_joined(kind, shapes, message):
    with pytest.raises(InputError, match=f"^{kind.__name__}{message}"):
        kind()([keras.KerasTensor(shape) for shape in shapes])


@pytest.mark.parametrize(
    "shapes",
    [
        [(None, None, 3), (None, 4, 3)],
        [(None, None, None, 3), (None, 4, 3)],
        [(None, None, None, 3), (None, 5, 3)],
    ],
)
def test_unknown_sizes_that_may_differ(shapes):
    message = "need known heights and widths .or numbers of tokens., got"
    with pytest.raises(InputError, match=message):
        FusionModule()([keras.KerasTensor(shape) for shape in shapes])
