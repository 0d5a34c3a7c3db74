"""Training methods, one file each."""

from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.feature_fusion import FeatureFusionModel
from keras_ffl.methods.vanilla import VanillaModel

__all__ = ["FeatureFusionModel", "TrainingMethod", "VanillaModel"]
