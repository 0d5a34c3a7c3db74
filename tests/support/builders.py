"""Tiny models and data, the losses in NumPy and training by hand."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_ffl import FeatureFusionModel, VanillaModel
from keras_ffl.layers import BatchNormalization
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    FFSDModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    PeerCollaborativeModel,
)
from keras_ffl.optimizers import SGD

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


def branches(count=2, channels=3, image=IMAGE, **kwargs):
    """Sub-networks on one trunk of a convolution (case 1)."""
    image = keras.Input(image)
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


def pair(**kwargs):
    """Two networks of one architecture that share nothing."""
    return [subnetwork(name=f"net_{k}", **kwargs) for k in (1, 2)]


def teacher(**kwargs):
    """A classifier whose weights and statistics no initializer gives."""
    network = subnetwork(channels=5, name="wise", **kwargs)
    return moved(keras.Model(network.input, network.output["logits"]))


METHODS = {
    "ffl": lambda **kwargs: FeatureFusionModel(branches(**kwargs), 0),
    "vanilla": lambda **kwargs: VanillaModel(subnetwork(**kwargs)),
    "ensemble": lambda **kwargs: EnsembleModel(separate(**kwargs)),
    "dualnet": lambda **kwargs: DualNetModel(pair(**kwargs), 1),
    "one": lambda **kwargs: OneModel(branches(3, **kwargs), 0),
    "dml": lambda **kwargs: MutualLearningModel(separate(**kwargs)),
    "dml_simultaneous": lambda **kwargs: MutualLearningModel(
        separate(**kwargs), simultaneous=True
    ),
    "kd": lambda **kwargs: KnowledgeDistillationModel(
        subnetwork(**kwargs), teacher(**kwargs)
    ),
    "ffsd": lambda **kwargs: FFSDModel(separate(3, **kwargs), 0),
    "pcl": lambda **kwargs: PeerCollaborativeModel(branches(**kwargs), 0),
}
"""Functions of arguments of `subnetwork` to a model of every method."""


def moved(model, seed=3):
    """The model with weights and statistics that no initializer gives."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            weight.assign(weight + rng.uniform(0.1, 0.5, weight.shape))
    return model


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


class HandSGD:
    """The recipe's optimizer by hand; `optimizer` is the one it must equal."""

    def __init__(self, rate=0.1, momentum=0.9, decay=0.01):
        self.rate, self.momentum, self.decay = rate, momentum, decay
        self.buffers = {}

    def optimizer(self, rate=None):
        return SGD(
            self.rate if rate is None else rate,
            self.momentum,
            weight_decay=self.decay,
            weight_decay_groups={},
        )

    def step(self, tape, loss, variables, rate=None):
        gradients = tape.gradient(loss, [v.value for v in variables])
        for variable, gradient in zip(variables, gradients, strict=True):
            gradient = gradient.numpy() + self.decay * variable.numpy()
            buffer = self.momentum * self.buffer(variable) + gradient
            self.buffers[id(variable)] = buffer
            step = gradient + self.momentum * buffer
            variable.assign(variable.numpy() - (rate or self.rate) * step)

    def buffer(self, variable):
        return self.buffers.get(id(variable), np.zeros(variable.shape))


def momentums(model, variables):
    """The optimizer's buffers of some of the model's variables."""
    buffers = {
        id(variable): buffer.numpy()
        for variable, buffer in zip(
            model.trainable_variables, model.optimizer.momentums, strict=True
        )
    }
    return [buffers[id(variable)] for variable in variables]


@contextlib.contextmanager
def statistics_kept(network):
    """What is not trainable in a network has its old values in the end."""
    values = [w.numpy().copy() for w in network.non_trainable_weights]
    yield
    for weight, value in zip(network.non_trainable_weights, values):
        weight.assign(value)


def mean_cross_entropy(y, logits, weights=1.0):
    """The mean over a batch, as a tensor; `y`: integers."""
    rows = np.eye(CLASSES, dtype="float32")[y]
    return -ops.mean(weights * ops.sum(rows * ops.log_softmax(logits), axis=-1))


def mean_kl(teacher, student, temperature, weights=1.0):
    """T² times the divergence as a tensor; the teacher is a number."""
    p = log_softmax(np.asarray(teacher) / temperature)
    q = ops.log_softmax(student / temperature)
    divergence = ops.sum(np.exp(p) * (p - q), axis=-1)
    return temperature**2 * ops.mean(weights * divergence)


def assert_close(ours, expected, tolerance=2e-6):
    """Lists of arrays or variables that are equal but for rounding."""
    for one, other in zip(ours, expected, strict=True):
        one, other = (ops.convert_to_numpy(each) for each in (one, other))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def largest_difference(ours, others):
    """Largest difference between two lists of arrays or variables."""
    return max(
        np.abs(ops.convert_to_numpy(a) - ops.convert_to_numpy(b)).max()
        for a, b in zip(ours, others, strict=True)
    )
