"""Networks with drawn weights, and what the same ones in torch give."""

import dataclasses

import keras
import numpy as np

from keras_ffl.models import NETWORKS, imagenet_resnet, resnet, wide_resnet


def _start_of_resnet50(num_classes, input_shape):
    whole = NETWORKS["imagenet_resnet50"]
    return dataclasses.replace(whole, stages=whole.stages[:2])(
        num_classes, input_shape
    )


KINDS = {
    "resnet20": lambda *arguments: resnet(20, *arguments),
    "wrn_16_2": lambda *arguments: wide_resnet(16, 2, *arguments),
    "imagenet_resnet18": lambda *arguments: imagenet_resnet(18, *arguments),
    "start of imagenet_resnet50": _start_of_resnet50,
}
"""Functions of the number of classes and the image's shape, by name."""

SIZE = 33, 50

# The first four logits of the first image: torch 2.13, float64, inference.
RECORDED = {
    "resnet20": [
        0.544021740356,
        -3.16085858955,
        -2.15165681909,
        -0.111825492489,
    ],
    "wrn_16_2": [
        -0.268766374861,
        -0.941661451459,
        0.0908363954368,
        -0.558468254384,
    ],
    "imagenet_resnet18": [
        -0.0957444911563,
        3.04585838921,
        -1.90144764658,
        0.448427708401,
    ],
    "start of imagenet_resnet50": [
        -1.84970297405,
        0.780541835583,
        -3.00088688573,
        1.38036157091,
    ],
}


def drawn(kind, size, dtype="float64"):
    """A network whose weights an independent generator has drawn, and images.

    Scales, offsets and moving statistics are far from one and zero.

    Args:
        kind: A key of `KINDS`.
        size: Pair of int, height and width of the images.
        dtype: Of the images.

    Returns:
        Tuple of the model and an array (3, height, width, 3).
    """
    rng = np.random.default_rng(1)
    model = KINDS[kind](10, (*size, 3))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            values = [
                rng.uniform(0.5, 1.5, shape),
                rng.normal(0, 0.3, shape),
                rng.normal(0, 0.5, shape),
                rng.uniform(0.5, 2.0, shape),
            ]
        else:
            values = [
                rng.normal(0, np.prod(w.shape[:-1]) ** -0.5, w.shape)
                for w in layer.weights
            ]
        layer.set_weights(values)
    return model, rng.normal(size=(3, *size, 3)).astype(dtype)
