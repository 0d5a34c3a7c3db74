"""Tiny networks of maps, tokens and vectors, and methods of them."""

import keras

from keras_ffl import FeatureFusionModel, VanillaModel
from keras_ffl.data import DatasetInfo
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    FFSDModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
)
from support.builders import CLASSES, moved

IMAGE = (8, 8, 3)
INFO = DatasetInfo(
    "toy",
    CLASSES,
    IMAGE,
    ("a", "b", "c"),
    (127, 120, 110),
    (64, 60, 61),
    False,
)
LAYERS = keras.layers


def _maps(x, channels, name):
    x = LAYERS.Conv2D(
        channels, 3, strides=2, padding="same", name=f"{name}_conv"
    )(x)
    return LAYERS.ReLU(name=f"{name}_relu")(x)


def _patches(x, channels, name):
    """Patches of 2x2 pixels, 16 for `IMAGE`."""
    x = LAYERS.Conv2D(channels, 2, strides=2, name=f"{name}_patches")(x)
    return LAYERS.Reshape((-1, channels), name=f"{name}_tokens")(x)


def _tokens(x, channels, name):
    """A block of a vision transformer."""
    if len(x.shape) == 4:
        x = _patches(x, channels, name)
    y = LAYERS.LayerNormalization(name=f"{name}_norm")(x)
    y = LAYERS.MultiHeadAttention(2, 3, name=f"{name}_attention")(y, y)
    x = LAYERS.Add(name=f"{name}_add")([x, y])
    x = LAYERS.Dense(channels, "relu", name=f"{name}_mlp")(x)
    return LAYERS.LayerNormalization(name=f"{name}_end")(x)


def _class_token(x, channels, name):
    """17 tokens, the first of which is no part of the image."""
    x = _patches(x, channels, name)
    x = LAYERS.ZeroPadding1D((1, 0), name=f"{name}_class_token")(x)
    return _tokens(x, channels, name)


def _vectors(x, channels, name):
    x = LAYERS.Flatten(name=f"{name}_flatten")(x)
    return LAYERS.Dense(channels, "relu", name=f"{name}_hidden")(x)


FEATURES = {
    "maps": _maps,
    "tokens": _tokens,
    "class_token": _class_token,
    "vectors": _vectors,
}
TRUNKS = {"maps": _maps, "tokens": _patches, "vectors": _vectors}
POOLING = {
    4: LAYERS.GlobalAveragePooling2D,
    3: LAYERS.GlobalAveragePooling1D,
    2: LAYERS.Identity,
}


def network(kind, name="net", channels=4, trunk=None):
    """`trunk`: the KerasTensors of an image and of what is computed from it."""
    image, x = trunk or [keras.Input(IMAGE)] * 2
    features = FEATURES[kind](x, channels, name)
    pooled = POOLING[len(features.shape)](name=f"{name}_pool")(features)
    logits = LAYERS.Dense(CLASSES, name=f"{name}_dense")(pooled)
    outputs = {"features": features, "logits": logits}
    return keras.Model(image, outputs, name=name)


def networks(*kinds):
    """One of each kind, of different width, without shared weights."""
    return [
        network(kind, f"net_{k}", 2 + 2 * k)
        for k, kind in enumerate(kinds, start=1)
    ]


def pair(kind):
    """Two of one architecture."""
    return [network(kind, f"net_{k}") for k in (1, 2)]


def branches(kind):
    """Two on a trunk that ends with features of the same kind."""
    image = keras.Input(IMAGE)
    trunk = image, TRUNKS[kind](image, 4, "trunk")
    return [network(kind, f"net_{k}", trunk=trunk) for k in (1, 2)]


def terms(kind):
    """FFSD's options: vectors have no attention maps."""
    names = ("diversity_weight", "attention_weight")
    return dict.fromkeys(names, 0) if kind == "vectors" else {}


def teacher(kind):
    """A classifier whose weights no initializer gives."""
    wise = network(kind, "wise", channels=6)
    return moved(keras.Model(wise.input, wise.output["logits"]))


_OF_ONE_KIND = {
    "ffl": lambda kind: FeatureFusionModel(networks(kind, kind), 0),
    "vanilla": lambda kind: VanillaModel(network(kind)),
    "ensemble": lambda kind: EnsembleModel(networks(kind, kind)),
    "dualnet": lambda kind: DualNetModel(pair(kind), 1),
    "one": lambda kind: OneModel(branches(kind), 0),
    "dml": lambda kind: MutualLearningModel(networks(kind, kind)),
    "kd": lambda kind: KnowledgeDistillationModel(network(kind), teacher(kind)),
    "ffsd": lambda kind: FFSDModel(networks(kind, kind, kind), **terms(kind)),
}
_MIXED = {
    "ffl_maps_tokens": ("maps", "tokens"),
    "ffl_class_token_maps": ("class_token", "maps"),
}


def _of(method, kind):
    return lambda: _OF_ONE_KIND[method](kind)


def _mixture(kinds):
    return lambda: FeatureFusionModel(networks(*kinds), 0)


METHODS = {
    **{
        f"{method}_{kind}": _of(method, kind)
        for method in _OF_ONE_KIND
        for kind in ("tokens", "vectors")
    },
    **{name: _mixture(kinds) for name, kinds in _MIXED.items()},
    "dml_maps_vectors": lambda: MutualLearningModel(
        networks("maps", "vectors")
    ),
}
"""Functions without arguments to a model, by method and features."""
