"""`keras.config.set_image_data_format("channels_first")` changes nothing."""

import keras
import numpy as np
import pytest

from keras_ffl.data import DatasetInfo
from keras_ffl.export import stock_head
from keras_ffl.layers import FusionModule
from keras_ffl.methods import FeatureFusionModel, OneModel
from keras_ffl.models import application, build
from keras_ffl.studies.pictures.overlay import enlarge, heat
from keras_ffl.studies.transfer import target_data

INFO = DatasetInfo(
    "toy", 3, (8, 8, 2), ("a", "b", "c"), (120.0, 110), (60.0, 61), False
)


def arrays(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, size=shape).astype("float32")


def as_numpy(structure):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, structure)


def network(name):
    """The configuration of a network."""
    return build(name, 3, (8, 8, 3)).to_json()


def fused(filters, side):
    """A map fused of two, the second one of that side."""
    maps = [arrays(2, 4, 4, 6), arrays(2, side, side, 3, seed=1)]
    return as_numpy(FusionModule(filters)(maps))


def exported(method):
    """Probabilities of all heads, and what they are rebuilt of."""
    model = method.from_branches(
        "resnet8",
        num_classes=3,
        input_shape=INFO.input_shape,
        rampup_epochs=0,
    )
    stock = [stock_head(model, head, INFO) for head in model.heads]
    x = arrays(3, *INFO.input_shape)
    return [as_numpy(each(x)) for each in stock], [s.to_json() for s in stock]


def an_application(name):
    """The outputs of an application with its preprocessing."""
    options = {"alpha": 0.1} if name == "MobileNet" else {}
    model = application(
        name, 3, (120, 110, 100), (60, 61, 62), (32, 32, 3), **options
    )
    return as_numpy(model(arrays(2, 32, 32, 3)))


def pictures():
    """Enlarged images and heat maps."""
    images = arrays(2, 4, 3, 1).astype("uint8")
    return enlarge(images, 12), heat(arrays(2, 2, 3), (4, 6))


def other_images():
    """Another data set's test images, resized."""
    return target_data("digits", INFO).x_test


CASES = {
    "resnet": (network, "resnet8"),
    "wide resnet": (network, "wrn_10_1"),
    "imagenet resnet": (network, "imagenet_resnet50"),
    "fused": (fused, "sum", 4),
    "sizes": (fused, None, 2),
    "ffl": (exported, FeatureFusionModel),
    "one": (exported, OneModel),
    "mobilenet": (an_application, "MobileNet"),
    "vgg": (an_application, "VGG16"),
    "pictures": (pictures,),
    "transfer": (other_images,),
}


@pytest.mark.parametrize("case", CASES)
def test_channels_are_last_under_either_setting(case):
    make, *arguments = CASES[case]
    results = []
    for setting in ("channels_last", "channels_first"):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        before = keras.config.image_data_format()
        keras.config.set_image_data_format(setting)
        try:
            results.append(make(*arguments))
            assert keras.config.image_data_format() == setting
        finally:
            keras.config.set_image_data_format(before)
    keras.tree.map_structure(np.testing.assert_array_equal, *results)
