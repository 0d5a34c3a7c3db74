"""The average of feature maps, the ablation without a fusion module."""

import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage


@pytest.mark.parametrize("count", [2, 3, 4])
def test_against_numpy(count):
    rng = np.random.default_rng(0)
    maps = list(rng.normal(size=(count, 2, 3, 4, 5)).astype("float32"))
    layer = FeatureAverage()
    np.testing.assert_allclose(
        layer(maps), np.mean(maps, axis=0), rtol=1e-6, atol=1e-6
    )
    assert layer.weights == []


def test_output_shape():
    maps = [keras.KerasTensor((None, 8, 4, 3))] * 2
    assert FeatureAverage()(maps).shape == (None, 8, 4, 3)


def test_serialization():
    layer = FeatureAverage(name="mean_map")
    restored = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(restored) is FeatureAverage
    assert restored.name == "mean_map"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(None, 8, 8, 3)], "two feature maps, got .* 8, 8, 3"),
        ([(None, 8, 3)] * 2, "feature map 1 must be 4-D"),
        (
            [(None, 8, 8, 3), (None, 8, 8, 4)],
            r"of one shape, got \[\(8, 8, 3\), \(8, 8, 4\)\]; FusionModule",
        ),
        ([(None, 8, 8, 3), (None, 4, 8, 3)], "maps of one shape"),
    ],
)
def test_bad_maps(shapes, message):
    with pytest.raises(InputError, match=f"FeatureAverage.*{message}"):
        FeatureAverage()([keras.KerasTensor(shape) for shape in shapes])


def test_a_bare_map_is_no_list():
    message = r"takes a list of .* got the input shape \(None, 8, 8, 3\)"
    with pytest.raises(InputError, match=message):
        FeatureAverage()(keras.KerasTensor((None, 8, 8, 3)))
