"""Networks whose channels come first are refused."""

import keras
import pytest
from support.builders import CLASSES, METHODS

from keras_ffl.errors import InputError
from keras_ffl.methods import EnsembleModel, FeatureFusionModel, VanillaModel
from keras_ffl.models import as_subnetwork

LAYERS = keras.layers
FIRST = {"data_format": "channels_first"}


class Block(keras.layers.Layer):
    """A layer of somebody else's, with layers inside."""

    def __init__(self, **kwargs):
        super().__init__()
        self.convolution = LAYERS.Conv2D(3, 1, **kwargs)

    def call(self, inputs):
        return self.convolution(inputs)


class Turned(keras.layers.Layer):
    """A layer that moves the channels without saying so."""

    def call(self, inputs):
        return keras.ops.transpose(inputs, (0, 2, 3, 1))


def nested(x):
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, LAYERS.Conv2D(3, 1, **FIRST)(inner))(x)


def summed(x):
    """Two ways, as in a residual network."""
    x = LAYERS.Conv2D(3, 3, padding="same", **FIRST)(x)
    y = LAYERS.BatchNormalization(axis=1)(x)
    y = keras.ops.relu(LAYERS.Activation("relu")(y))
    return LAYERS.Dropout(0.1)(LAYERS.Add()([x, y]))


CHANNELS_FIRST = {
    "convolution": lambda x: LAYERS.Conv2D(3, 1, **FIRST)(x),
    "pooling": lambda x: LAYERS.MaxPooling2D(1, **FIRST)(x),
    "sum": summed,
    "nested": nested,
    "layers inside": lambda x: Block(**FIRST)(x),
    "operation": lambda x: keras.ops.max_pool(x, 1, **FIRST),
}
CHANNELS_LAST = {
    "convolution": lambda x: LAYERS.Conv2D(3, 1)(x),
    "layers inside": lambda x: Block()(x),
    "permuted": lambda x: LAYERS.Permute((2, 3, 1))(summed(x)),
    "transposed": lambda x: keras.ops.transpose(summed(x), (0, 2, 3, 1)),
    "of a layer of its own": lambda x: Turned()(summed(x)),
    "permuted and back": lambda x: LAYERS.Conv2D(3, 1)(
        LAYERS.Permute((2, 3, 1))(LAYERS.Conv2D(4, 1, **FIRST)(x))
    ),
    "the image": lambda x: LAYERS.Activation("relu")(x),
}


def network(features):
    image = keras.Input((4, 4, 4))
    x = features(image)
    logits = LAYERS.Dense(CLASSES)(LAYERS.Flatten()(x))
    return keras.Model(image, {"features": x, "logits": logits})


def refused(what):
    return pytest.raises(
        InputError,
        match=f"{what} must give a feature map .batch, h, w, C., but its "
        "layer '.*' puts the channels first; build it with "
        "data_format='channels_last'",
    )


@pytest.mark.parametrize("kind", CHANNELS_FIRST)
def test_channels_first(kind):
    net = network(CHANNELS_FIRST[kind])
    with refused("`network`"):
        VanillaModel(net)


@pytest.mark.parametrize("method", [EnsembleModel, FeatureFusionModel])
def test_channels_first_beside_another(method):
    networks = [network(CHANNELS_LAST["convolution"]), network(summed)]
    options = {"rampup_epochs": 0} if method is FeatureFusionModel else {}
    with refused("`subnetworks`: sub-network 2"):
        method(networks, **options)


@pytest.mark.parametrize("method", METHODS)
def test_the_setting_of_the_user_while_networks_are_made(method):
    keras.config.set_image_data_format("channels_first")
    try:
        with refused("(`network`|`subnetworks`: sub-network 1)"):
            METHODS[method](image=(4, 4, 4))
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("kind", CHANNELS_LAST)
def test_channels_last(kind):
    assert VanillaModel(network(CHANNELS_LAST[kind])).heads == ("vanilla",)


def test_tokens_and_vectors():
    tokens = LAYERS.Reshape((16, 4))
    first = LAYERS.Conv1D(3, 1, data_format="channels_first", name="first")
    message = r"feature map .batch, tokens, C., but its layer 'first' puts"
    with pytest.raises(InputError, match=message):
        VanillaModel(network(lambda x: LAYERS.ReLU()(first(tokens(x)))))
    for features in (
        lambda x: LAYERS.Conv1D(3, 1)(LAYERS.Permute((2, 1))(first(tokens(x)))),
        lambda x: tokens(LAYERS.Conv2D(4, 1, **FIRST)(x)),
        LAYERS.GlobalAveragePooling2D(data_format="channels_first"),
    ):
        VanillaModel(network(features))


def test_as_subnetwork():
    image = keras.Input((3, 8, 8))
    x = LAYERS.Conv2D(4, 3, **FIRST)(image)
    x = LAYERS.ReLU(name="map")(x)
    turned = LAYERS.Permute((2, 3, 1), name="turned")(x)
    logits = LAYERS.Dense(CLASSES)(LAYERS.GlobalAveragePooling2D()(turned))
    model = keras.Model(image, logits)
    with refused("`model`"):
        as_subnetwork(model, "map")
    features = as_subnetwork(model, "turned").output["features"]
    assert features.shape == (None, 6, 6, 4)


def test_unknown_channels():
    image = keras.Input((4, 4, None))
    x = LAYERS.Activation("relu")(image)
    mean = keras.ops.mean(x, axis=(1, 2, 3))
    logits = LAYERS.Dense(CLASSES)(mean[:, None])
    message = (
        "`network`'s 'features' must be .* with known channels, got .*4, No"
    )
    with pytest.raises(InputError, match=message):
        VanillaModel(keras.Model(image, {"features": x, "logits": logits}))
