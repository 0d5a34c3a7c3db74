"""Losses: cross-entropy, and knowledge distillation as Keras losses too."""

from keras_ffl.losses.attention import (
    attention_distance,
    attention_map,
    shifted_attention,
)
from keras_ffl.losses.distillation import (
    DistillationKL,
    binary_distillation_kl,
    distillation_kl,
    distillation_term,
)
from keras_ffl.losses.divergences import (
    DISTILLATIONS,
    DecoupledKL,
    SoftmaxKL,
    StandardizedKL,
)
from keras_ffl.losses.supervised import cross_entropy

__all__ = [
    "DISTILLATIONS",
    "DecoupledKL",
    "DistillationKL",
    "SoftmaxKL",
    "StandardizedKL",
    "attention_distance",
    "attention_map",
    "binary_distillation_kl",
    "cross_entropy",
    "distillation_kl",
    "distillation_term",
    "shifted_attention",
]
