"""Layers: the fusion module, its ablation, ONE's gate, fast batch norm."""

from keras_ffl.layers.batch_normalization import (
    BatchNormalization,
    synchronized_batch_norm,
)
from keras_ffl.layers.feature_sum import FeatureAverage, FeatureSum
from keras_ffl.layers.fusion import FusionModule
from keras_ffl.layers.gate import Gate

__all__ = [
    "BatchNormalization",
    "FeatureAverage",
    "FeatureSum",
    "FusionModule",
    "Gate",
    "synchronized_batch_norm",
]
