"""Training methods, one file each."""

from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.dualnet import DualNetModel
from keras_ffl.methods.ensemble import EnsembleModel
from keras_ffl.methods.feature_fusion import FeatureFusionModel
from keras_ffl.methods.knowledge_distillation import KnowledgeDistillationModel
from keras_ffl.methods.mutual import MutualLearningModel
from keras_ffl.methods.one import OneModel
from keras_ffl.methods.vanilla import VanillaModel

__all__ = [
    "DualNetModel",
    "EnsembleModel",
    "FeatureFusionModel",
    "KnowledgeDistillationModel",
    "MutualLearningModel",
    "OneModel",
    "TrainingMethod",
    "VanillaModel",
]
