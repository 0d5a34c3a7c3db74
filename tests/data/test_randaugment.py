"""RandAugment's operations against Pillow's."""

import numpy as np
import pytest
from keras import ops
from PIL import Image, ImageEnhance, ImageOps

from keras_ffl.data import Augmentation, training_batches
from keras_ffl.data import randaugment as ours
from keras_ffl.data.info import DatasetInfo

SIZE = (20, 26)


def image(number=0):
    """Neither smooth nor flat, and not of all values."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(20, 200, (5, 7, 3)).astype("uint8")
    large = Image.fromarray(coarse).resize(SIZE[::-1], Image.BICUBIC)
    noise = rng.integers(-15, 16, (*SIZE, 3))
    return np.clip(np.asarray(large) + noise, 0, 255).astype("uint8")


def moved(picture, affine):
    exact = affine / 65536
    exact[[2, 5]] -= (exact[[0, 3]] + exact[[1, 4]]) / 2
    return picture.transform(
        picture.size, Image.AFFINE, exact.tolist(), Image.NEAREST
    )


PILLOW = {
    "identity": lambda picture, strength, affine: picture,
    **{
        name: lambda picture, strength, affine: moved(picture, affine)
        for name in (
            "rotate",
            "shear_x",
            "shear_y",
            "translate_x",
            "translate_y",
        )
    },
    "auto_contrast": lambda picture, *_: ImageOps.autocontrast(picture),
    "equalize": lambda picture, *_: ImageOps.equalize(picture),
    "solarize": lambda picture, strength, _: ImageOps.solarize(
        picture, strength
    ),
    "posterize": lambda picture, strength, _: ImageOps.posterize(
        picture, int(strength)
    ),
    **{
        name.lower(): lambda picture, strength, _, name=name: getattr(
            ImageEnhance, name
        )(picture).enhance(strength / 65536)
        for name in ("Color", "Contrast", "Brightness", "Sharpness")
    },
}


def applied(name, pixels, part):
    strength, affine = ours.parameters(name, part, SIZE)
    result = ours.OPERATIONS[name](
        ops.convert_to_tensor(pixels.astype("int32")),
        ops.convert_to_tensor(np.int32(strength)),
        ops.convert_to_tensor(affine),
    )
    expected = PILLOW[name](Image.fromarray(pixels), strength, affine)
    return ops.convert_to_numpy(result), np.asarray(expected).astype("int32")


@pytest.mark.parametrize("part", [-1.0, -0.45, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", ours.OPERATIONS)
def test_operations_are_pillows(name, part):
    for number in range(3):
        found, expected = applied(name, image(number), part)
        assert found.dtype == np.int32
        differ = (found != expected).any(axis=-1)
        # Pillow's factors are float32: what is near a whole number may be
        # cut off to the one or the other.
        assert np.abs(found - expected).max() <= 1
        assert differ.mean() < 0.01
        if name not in ("identity", "equalize", "auto_contrast") and part:
            assert (found != image(number)).mean() > 0.03


@pytest.mark.parametrize("name", ["auto_contrast", "equalize"])
def test_a_flat_channel_stays(name):
    pixels = image()
    pixels[..., 1] = 77
    found, expected = applied(name, pixels, 0.5)
    np.testing.assert_array_equal(found[..., 1], 77)
    assert np.abs(found - expected).max() <= 1


def test_directions():
    _, affine = ours.parameters("translate_x", 1.0, SIZE)
    shift = int(150 / 331 * 26)
    assert (affine / 65536).tolist() == [1, 0, shift + 0.5, 0, 1, 0.5]
    _, affine = ours.parameters("rotate", 1.0, SIZE)
    matrix = np.reshape(affine, (2, 3)) / 65536
    # The middle stays where it is, as point between pixels.
    np.testing.assert_allclose(matrix @ [12.5, 9.5, 1], [13, 10], atol=1e-3)
    assert matrix[0, 0] == pytest.approx(np.sqrt(3) / 2, abs=1e-4)
    strengths = {n: ours.parameters(n, -1.0, SIZE)[0] for n in PILLOW}
    assert (strengths["solarize"], strengths["posterize"]) == (0, 4)
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert strengths[name] / 65536 == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("over_images", [ops.map, ops.vectorized_map])
def test_each_image_by_its_own_two_operations(over_images):
    n = 12
    x = np.stack([image(k) for k in range(n)])
    info = DatasetInfo(
        "toy", 2, (*SIZE, 3), ("a", "b"), (1,) * 3, (1,) * 3, False
    )
    batches = training_batches(
        x,
        np.arange(n) % 2,
        info,
        n,
        3,
        Augmentation(pad=0, flip=False, randaugment=7),
    )
    rows = batches.plan(0).columns()
    found, _ = batches.augmented(
        ops.convert_to_tensor(x), ops.zeros(n, "int32"), rows, over_images
    )
    assert len(set(map(tuple, rows["operation"].tolist()))) > 7
    for i, pixels in enumerate(x):
        expected = pixels.astype("int32")
        for k in range(2):
            function = list(dict.fromkeys(ours.OPERATIONS.values()))[
                rows["operation"][i, k]
            ]
            expected = function(
                ops.convert_to_tensor(expected),
                *(
                    ops.convert_to_tensor(rows[name][i, k])
                    for name in ("strength", "affine")
                ),
            )
        np.testing.assert_array_equal(found[i], expected)
