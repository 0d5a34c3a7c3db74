"""Losses: knowledge distillation as a function and as a Keras loss."""

from keras_ffl.losses.distillation import DistillationKL, distillation_kl

__all__ = ["DistillationKL", "distillation_kl"]
