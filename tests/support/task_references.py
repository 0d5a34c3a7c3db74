"""Labels, outputs and the losses of every task in NumPy."""

import numpy as np

from keras_ffl.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
)
from support.builders import cross_entropy, kl

IGNORED = 255


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def binary_cross_entropy(y, z):
    return -(y * np.log(sigmoid(z)) + (1 - y) * np.log(sigmoid(-z))).sum(-1)


def binary_kl(teacher, student, temperature):
    """T² times the divergence of every sample."""
    p, q = sigmoid(teacher / temperature), sigmoid(student / temperature)
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * each.sum(axis=-1)


def squares(a, b):
    return ((a - b) ** 2).mean(axis=tuple(range(1, np.ndim(b))))


def over_pixels(values, y):
    """The mean over the pixels of each image whose label counts."""
    return np.array(
        [
            image[labels != IGNORED].mean() if (labels != IGNORED).any() else 0
            for image, labels in zip(values, y, strict=True)
        ]
    )


def rows(y, classes):
    return np.eye(classes)[np.where(y == IGNORED, 0, y)]


# By name: the task, the shape of a sample's output, labels for random numbers,
# loss (y, z), divergence (y, teacher, student, T).
TASKS = {
    "classification": (
        Classification(),
        (3,),
        lambda rng, n: rng.integers(3, size=n),
        lambda y, z: cross_entropy(rows(y, 3), z),
        lambda y, t, z, temperature: kl(t, z, temperature),
    ),
    "multi_label": (
        MultiLabel(),
        (3,),
        lambda rng, n: rng.integers(2, size=(n, 3)),
        binary_cross_entropy,
        lambda y, t, z, temperature: binary_kl(t, z, temperature),
    ),
    "regression": (
        Regression(),
        (2,),
        lambda rng, n: rng.normal(size=(n, 2)),
        squares,
        lambda y, t, z, temperature: squares(t, z),
    ),
    "segmentation": (
        Segmentation(ignore_class=IGNORED),
        (4, 4, 3),
        lambda rng, n: rng.choice([0, 1, 2, IGNORED], size=(n, 4, 4)),
        lambda y, z: over_pixels(cross_entropy(rows(y, 3), z), y),
        lambda y, t, z, temperature: over_pixels(kl(t, z, temperature), y),
    ),
}
