"""Networks by name."""

import dataclasses

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.architecture import Architecture
from keras_ffl.models.graph import has_graph
from keras_ffl.models.imagenet_resnet import imagenet_resnet_architecture
from keras_ffl.models.resnet import resnet_architecture
from keras_ffl.models.vit import vit_architecture
from keras_ffl.models.wide_resnet import wide_resnet_architecture


def _stacked(depth):
    """A ResNet with three more blocks, for the pairs of Table VI."""
    n = (depth - 2) // 6
    blocks = (n + 1, n + 2, n)
    return dataclasses.replace(
        resnet_architecture(blocks_per_stage=blocks),
        name=f"resnet{depth}_{'_'.join(map(str, blocks))}",
    )


NETWORKS = {
    "resnet8": resnet_architecture(8),
    "resnet14": resnet_architecture(14),
    "resnet20": resnet_architecture(20),
    "resnet32": resnet_architecture(32),
    "resnet44": resnet_architecture(44),
    "resnet56": resnet_architecture(56),
    "resnet110": resnet_architecture(110),
    "resnet8_2_3_1": _stacked(8),
    "resnet14_3_4_2": _stacked(14),
    "resnet32_6_7_5": _stacked(32),
    "resnet56_10_11_9": _stacked(56),
    "wrn_10_1": wide_resnet_architecture(10, 1),
    "wrn_10_2": wide_resnet_architecture(10, 2),
    "wrn_16_2": wide_resnet_architecture(16, 2),
    "wrn_40_2": wide_resnet_architecture(40, 2),
    "wrn_28_10": wide_resnet_architecture(28, 10),
    "vit_tiny": vit_architecture(name="vit_tiny"),
    "vit_lite_4": vit_architecture(4, 128, 2, 1, name="vit_lite_4"),
    "vit_lite_6": vit_architecture(6, 256, 4, 2, name="vit_lite_6"),
    "imagenet_resnet18": imagenet_resnet_architecture(18),
    "imagenet_resnet34": imagenet_resnet_architecture(34),
    "imagenet_resnet50": imagenet_resnet_architecture(50),
}
"""The networks of each known name.

Each value is a function `(num_classes, input_shape)` that returns a new
sub-network, a functional `keras.Model` with the outputs `"features"` and
`"logits"`. Those here are `Architecture`s, which can also make branches. Names
of your own may be added, see docs/networks.md.

`resnet<depth>_<n1>_<n2>_<n3>` is the network of that depth with additional
blocks: one in the stage of 16 channels, two in that of 32. For Table VI the
paper adds unspecified blocks to the independent networks until they are as
large as FFL's; these fit both of its pairs within 0.01 M (assumed).

Those of `vit` are ViT-Ti and ViT-Lite-4/4 and -6/4, with patches of 4 pixels.
"""


def build(name, num_classes, input_shape=(32, 32, 3)):
    """Builds the network of a known name.

    Args:
        name: A key of `NETWORKS`, such as `"resnet32"` or `"wrn_16_2"`.
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1; (224, 224, 3) for
            ImageNet; multiples of 4 for a vision transformer.

    Returns:
        Functional `keras.Model` from images (batch, height, width, channels),
        floats, to `{"features": (batch, ..., C), "logits": (batch, m)}`, see
        `resnet`, `wide_resnet`, `imagenet_resnet` and `vit`.

    Raises:
        InputError: The name is unknown, an argument is out of range, or a
            function of one's own returns another model.
    """
    network = find_network(name)(num_classes, input_shape)
    outputs = getattr(network, "output", None)
    if not (
        isinstance(outputs, dict)
        and set(outputs) == {"features", "logits"}
        and isinstance(network.input, keras.KerasTensor)
        and tuple(network.input_shape[1:]) == tuple(input_shape)
        and tuple(outputs["logits"].shape[1:]) == (num_classes,)
        and "float" in network.input.dtype
    ):
        raise InputError(
            f"network {name!r} must take float images {tuple(input_shape)} and "
            f"return features and {num_classes} logits, as a sub-network of "
            f"keras_ffl.as_subnetwork does, got {_described(network)}"
        )
    return network


def _described(network):
    if not has_graph(network):
        return repr(network)
    given, returned = (
        ", ".join(f"{x.dtype} {x.shape[1:]}" for x in tensors)
        for tensors in (network.inputs, network.outputs)
    )
    return f"a model from {given} to {returned}"


def find_network(name, argument="name"):
    """The value of a known name; otherwise the error lists all."""
    if not isinstance(name, str) or name not in NETWORKS:
        raise InputError(
            f"`{argument}` must be one of {', '.join(NETWORKS)}, got {name!r}"
        )
    return NETWORKS[name]


def find_architecture(name):
    """The `Architecture` of a known name; others can't have branches."""
    network = find_network(name)
    if not isinstance(network, Architecture):
        raise InputError(
            "branches that share stages need a network made of stages, such "
            f"as resnet32, got {name!r}; they share nothing where "
            "`separate_stages` is 0"
        )
    return network
