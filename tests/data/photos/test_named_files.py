"""Image files named one by one."""

import numpy as np
import pytest
from PIL import Image

from keras_ffl import InputError, data

INFO = data.DatasetInfo(
    "toy", 2, (4, 6, 3), ("a", "b"), (10.0, 20, 30), (2.0, 3, 4), False
)


def save(path, size, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (size[0], size[1], 3))
    Image.fromarray(pixels.astype("uint8")).convert(mode).save(path)
    return pixels


def test_images_in_the_networks_size(tmp_path):
    pixels = save(tmp_path / "own.png", (4, 6))
    save(tmp_path / "other.jpg", (9, 5))
    images = data.read_images(
        [tmp_path / "own.png", tmp_path / "other.jpg"], INFO
    )
    assert images.shape == (2, 4, 6, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[0], pixels)


def test_grey_files_and_grey_data_sets(tmp_path):
    save(tmp_path / "grey.png", (4, 6), "L")
    (image,) = data.read_images([tmp_path / "grey.png"], INFO)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    grey = data.DatasetInfo("toy", 2, (4, 6, 1), ("a", "b"), (1,), (2,), False)
    save(tmp_path / "colour.png", (4, 6))
    assert data.read_images([tmp_path / "colour.png"], grey).shape[-1] == 1


def test_what_is_no_image(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    cut = tmp_path / "cut.png"
    save(cut, (40, 40))
    cut.write_bytes(cut.read_bytes()[:200])
    for path in (text, cut):
        message = f"`images`: {path} can't be decoded as a JPEG"
        with pytest.raises(InputError, match=message) as error:
            data.read_images([path], INFO)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="absent.png can't be read: No such"):
        data.read_images([tmp_path / "absent.png"], INFO)
    with pytest.raises(InputError, match=f"{tmp_path} can't be read: Is a"):
        data.read_images([tmp_path], INFO)
    with pytest.raises(InputError, match="at least one file, got none"):
        data.read_images([], INFO)
