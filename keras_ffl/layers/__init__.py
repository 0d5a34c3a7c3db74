"""Layers: the fusion module, its ablation, and fast batch normalisation."""

from keras_ffl.layers.batch_normalization import BatchNormalization
from keras_ffl.layers.fusion import FeatureAverage, FusionModule

__all__ = ["BatchNormalization", "FeatureAverage", "FusionModule"]
