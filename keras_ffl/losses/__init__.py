"""Losses: knowledge distillation as functions and as a Keras loss."""

from keras_ffl.losses.distillation import (
    DistillationKL,
    distillation_kl,
    distillation_term,
)

__all__ = ["DistillationKL", "distillation_kl", "distillation_term"]
