"""The average and the sum of feature maps of one shape."""

import keras
import numpy as np
import pytest
from support.layer_contract import check_layer

from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage, FeatureSum

KINDS = (FeatureAverage, FeatureSum)


@pytest.mark.parametrize(
    ("kind", "expected"), [(FeatureAverage, np.mean), (FeatureSum, np.sum)]
)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_against_numpy(count, kind, expected):
    rng = np.random.default_rng(0)
    maps = list(rng.normal(size=(count, 2, 3, 4, 5)).astype("float32"))
    layer = kind()
    np.testing.assert_allclose(
        layer(maps), expected(maps, axis=0), rtol=1e-6, atol=1e-6
    )
    assert layer.weights == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 4, 3), (5, 3), (3,)])
def test_contract(kind, shape, tmp_path):
    check_layer(kind, tmp_path, [shape] * 2, shape)


@pytest.mark.parametrize("kind", KINDS)
def test_contract_of_maps_and_tokens(kind, tmp_path):
    check_layer(kind, tmp_path, [(9, 2), (3, 3, 2)], (3, 3, 2))
    check_layer(kind, tmp_path, [(2, 4, 3), (8, 3)], (8, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_tokens_row_by_row(kind):
    rng = np.random.default_rng(0)
    for shape in ((3, 3, 2), (2, 4, 2)):
        one, other = rng.normal(size=(2, 5, *shape)).astype("float32")
        expected = kind()([one, other])
        got = kind()([one, other.reshape(5, -1, 2)])
        np.testing.assert_array_equal(np.reshape(got, expected.shape), expected)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(None, 8, 8, 3)], "two feature maps, got .* 8, 8, 3"),
        ([(None,)] * 2, "feature map 1 must be .batch, h, w, C., .*, got"),
        (
            [(None, 8, 8, 3), (None, 8, 8, 4)],
            r"of one shape, got \[\(8, 8, 3\), \(8, 8, 4\)\]; FusionModule",
        ),
        ([(None, 8, 8, 3), (None, 4, 8, 3)], "maps of one shape"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_maps(shapes, message, kind):
    with pytest.raises(InputError, match=f"{kind.__name__}.*{message}"):
        kind()([keras.KerasTensor(shape) for shape in shapes])


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_map_is_no_list(kind):
    message = r"takes a list of .* got the input shape \(None, 8, 8, 3\)"
    with pytest.raises(InputError, match=message):
        kind()(keras.KerasTensor((None, 8, 8, 3)))
