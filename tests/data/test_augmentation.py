"""The options of an augmentation."""

import pytest

from keras_ffl.data import Augmentation
from keras_ffl.errors import InputError


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pad": -1}, "`pad` must be .*got -1"),
        ({"pad": 1.5}, "`pad` must be .*got 1.5"),
        ({"cutout": -2}, "`cutout` must be .*got -2"),
        ({"padding": "wrap"}, "`padding` .*'reflect' or 'constant'.*'wrap'"),
        ({"randaugment": 11}, "`randaugment` must be .*got 11"),
        ({"mixup": -0.1}, "`mixup` must be .*got -0.1"),
        ({"flip": "no"}, "`flip` must be True or False, got 'no'"),
        ({"cutmix": "a"}, "`cutmix` must be .*got 'a'"),
        ({"cutmix": float("nan")}, "`cutmix` must be .*got nan"),
        ({"label_smoothing": -0.1}, "`label_smoothing` must be .*got -0.1"),
        ({"label_smoothing": 1}, "`label_smoothing` must be .*got 1"),
        ({"label_smoothing": float("nan")}, "`label_smoothing` .*got nan"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**options)


def test_reflection_needs_an_image_larger_than_the_padding():
    Augmentation(pad=9).check_input_shape((12, 10, 3))
    Augmentation(pad=30, padding="constant").check_input_shape((12, 10, 3))
    with pytest.raises(InputError, match="`pad` must be .*12x10.*got 10"):
        Augmentation(pad=10).check_input_shape((12, 10, 3))


def test_randaugment_needs_colour():
    with pytest.raises(InputError, match="`randaugment` .*3 channels, got 1"):
        Augmentation(randaugment=5).check_input_shape((16, 16, 1))


def test_what_softens_labels():
    assert not Augmentation(randaugment=5, cutout=4).softens_labels
    for name in ("mixup", "cutmix", "label_smoothing"):
        assert Augmentation(**{name: 0.5}).softens_labels
        assert Augmentation(**{name: 0.5}).mixes == (name != "label_smoothing")
