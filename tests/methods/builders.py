"""Tiny models and data, and the method's loss in NumPy."""

import keras
import numpy as np

from keras_ffl import FeatureFusionModel
from keras_ffl.layers import BatchNormalization

IMAGE = (4, 4, 2)
CLASSES = 3


def subnetwork(
    channels=3,
    classes=CLASSES,
    image=IMAGE,
    strides=1,
    normalize=True,
    trunk=None,
    regularizer=None,
    name="net",
):
    """Convolution, batch normalisation, ReLU, pooling and dense layer.

    `trunk`: the KerasTensors of an image and of what is computed from it.
    """
    inputs, x = trunk or [keras.Input(image)] * 2
    x = keras.layers.Conv2D(
        channels,
        3,
        strides=strides,
        padding="same",
        use_bias=not normalize,
        kernel_regularizer=regularizer,
        name=f"{name}_conv",
    )(x)
    if normalize:
        x = BatchNormalization(name=f"{name}_bn")(x)
    features = keras.layers.ReLU(name=f"{name}_relu")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(features)
    logits = keras.layers.Dense(classes, name=f"{name}_dense")(pooled)
    outputs = {"features": features, "logits": logits}
    return keras.Model(inputs, outputs, name=name)


def branches(count=2, channels=3, **kwargs):
    """Sub-networks on one trunk of a convolution (case 1)."""
    image = keras.Input(IMAGE)
    trunk = keras.layers.Conv2D(2, 3, padding="same", name="trunk_conv")(image)
    return [
        subnetwork(channels, trunk=(image, trunk), name=f"net_{k}", **kwargs)
        for k in range(1, count + 1)
    ]


def separate(count=2, **kwargs):
    """Sub-networks that share nothing (case 2)."""
    return [
        subnetwork(channels=3 + k, name=f"net_{k}", **kwargs)
        for k in range(count)
    ]


class PlainFusion(keras.layers.Layer):
    """A fusion without batch normalisation, whose batches are independent."""

    def build(self, input_shape):
        self.pointwise = keras.layers.Conv2D(2, 1)
        self.pointwise.build(
            (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))
        )

    def call(self, inputs):
        return self.pointwise(keras.ops.concatenate(inputs, axis=-1))


def ffl(subnetworks=None, rampup_epochs=0, **options):
    if subnetworks is None:
        subnetworks = branches()
    return FeatureFusionModel(subnetworks, rampup_epochs, **options)


def compiled(model=None, optimizer="sgd", **kwargs):
    model = ffl() if model is None else model
    if optimizer == "sgd":
        optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, **kwargs)
    return model


def data(samples=8, classes=CLASSES, image=IMAGE, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, *image)).astype(dtype)
    return x, rng.integers(classes, size=samples)


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def cross_entropy(y, logits):
    """`y`: rows over the classes."""
    return -(y * log_softmax(logits)).sum(axis=-1)


def kl(teacher, student, temperature):
    """T² times the divergence of every sample."""
    p, q = (log_softmax(z / temperature) for z in (teacher, student))
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1)


def loss_terms(y, logits, temperature=3.0, teachers=None):
    """Every term of the loss for every sample, from method and rows `y`.

    `teachers`: the logits that stand on the teachers' side, by default the
    same ones.
    """
    teachers = teachers or logits
    subs = sorted(set(logits) - {"fused"})
    ensemble = np.mean([teachers[head] for head in subs], axis=0)
    terms = {f"ce_{head}": cross_entropy(y, logits[head]) for head in logits}
    terms["ekd"] = kl(ensemble, logits["fused"], temperature)
    terms["fkd"] = sum(
        kl(teachers["fused"], logits[head], temperature) for head in subs
    )
    return terms
