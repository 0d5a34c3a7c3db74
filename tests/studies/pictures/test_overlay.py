"""Heat maps over images, against values by hand."""

import numpy as np
import pytest

from keras_ffl.studies.pictures.overlay import enlarge, heat, overlay


def test_heat_is_a_share_of_each_maps_largest_value():
    maps = np.array([[[0.0, 1], [2, 4]], [[0, 0], [0, 0]], [[3, 3], [3, 3]]])
    shares = heat(maps, (2, 2))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares[0], [[0, 0.25], [0.5, 1]])
    np.testing.assert_array_equal(
        shares[1:], [np.zeros((2, 2)), np.ones((2, 2))]
    )


def test_heat_is_resized_bilinearly():
    # Of two columns 0 and 1, at half-pixel centres: 0, 1/4, 3/4, 1.
    shares = heat(np.array([[[0.0, 2], [0, 2]]]), (2, 4))
    np.testing.assert_allclose(shares[0], [[0, 0.25, 0.75, 1]] * 2, atol=1e-6)


def test_cold_places_show_the_image_in_grey():
    images = np.zeros((1, 2, 2, 3), "uint8")
    images[..., 0], images[..., 1] = 200, 100
    maps = np.array([[[0.0, 0], [0, 1]]])
    picture = overlay(images, maps)
    grey = round(0.299 * 200 + 0.587 * 100)
    assert (picture[0, 0] == grey).all() and (picture[0, 1, 0] == grey).all()
    # The hottest place is red, and the image still shows a little.
    hot = picture[0, 1, 1].astype(int)
    assert hot[0] > hot[1] + 40 and hot[0] > hot[2] + 40
    brighter = overlay(np.full_like(images, 255), maps)[0, 1, 1]
    assert (brighter > hot).all()


@pytest.mark.parametrize(
    ("channels", "shown"), [(2, [0, 0, 0]), (4, [0, 1, 2])]
)
def test_any_number_of_channels(channels, shown):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, channels))
    images = images.astype("uint8")
    np.testing.assert_array_equal(enlarge(images, 6), images[..., shown])
    assert enlarge(images, 12).shape == (2, 12, 12, 3)


def test_enlarged_by_a_whole_factor():
    images = np.zeros((2, 4, 6, 1), "uint8")
    images[:, :, 3:] = 250
    larger = enlarge(images, 10)
    assert larger.shape == (2, 12, 18, 3) and larger.dtype == np.uint8
    assert (larger[:, :, :6] < 30).all() and (larger[:, :, 12:] > 220).all()
    assert enlarge(images, 4).shape == (2, 4, 6, 3)
    colour = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 3), "uint8")
    np.testing.assert_array_equal(enlarge(colour, 5), colour)
