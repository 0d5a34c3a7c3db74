"""Training methods, one per file."""

from keras_ffl.errors import InputError
from keras_ffl.methods import (
    dualnet,
    ensemble,
    feature_fusion,
    ffsd,
    knowledge_distillation,
    mutual,
    one,
    peer_collaborative,
    vanilla,
)
from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.dualnet import DualNetModel
from keras_ffl.methods.ensemble import EnsembleModel
from keras_ffl.methods.feature_fusion import FeatureFusionModel
from keras_ffl.methods.ffsd import FFSDModel
from keras_ffl.methods.knowledge_distillation import KnowledgeDistillationModel
from keras_ffl.methods.mutual import MutualLearningModel
from keras_ffl.methods.one import OneModel
from keras_ffl.methods.peer_collaborative import PeerCollaborativeModel
from keras_ffl.methods.vanilla import VanillaModel

METHODS = {
    "ffl": feature_fusion.METHOD,
    "vanilla": vanilla.METHOD,
    "ensemble": ensemble.METHOD,
    "dualnet": dualnet.METHOD,
    "one": one.METHOD,
    "dml": mutual.METHOD,
    "kd": knowledge_distillation.METHOD,
    "pcl": peer_collaborative.METHOD,
    "ffsd": ffsd.METHOD,
}
"""The rows of the training methods, by their names in a configuration."""


def method_named(name):
    """The row of a method.

    Args:
        name: A key of `METHODS`.

    Returns:
        `keras_ffl.methods.rows.Method`.

    Raises:
        InputError: The method is unknown; the message lists the known ones.
    """
    if name not in METHODS:
        raise InputError(
            f"`method` must be one of {', '.join(METHODS)}, got {name!r} (one "
            "of another package is imported first, in commands by --import)"
        )
    return METHODS[name]


__all__ = [
    "METHODS",
    "DualNetModel",
    "EnsembleModel",
    "FFSDModel",
    "FeatureFusionModel",
    "KnowledgeDistillationModel",
    "MutualLearningModel",
    "OneModel",
    "PeerCollaborativeModel",
    "TrainingMethod",
    "VanillaModel",
    "method_named",
]
