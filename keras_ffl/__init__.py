"""Feature Fusion Learning for Keras: networks that teach each other."""

import keras_ffl.supported  # noqa: F401  (first: it refuses other backends)
from keras_ffl import (
    data,
    export,
    layers,
    losses,
    methods,
    models,
    optimizers,
    tasks,
    training,
)
from keras_ffl.config import Config
from keras_ffl.errors import FFLError, InputError, TrainingDiverged, Unfinished
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    FeatureFusionModel,
    FFSDModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    PeerCollaborativeModel,
    VanillaModel,
)
from keras_ffl.models import as_subnetwork
from keras_ffl.presets import preset

__version__ = "0.1.0"

__all__ = [
    "Config",
    "DualNetModel",
    "EnsembleModel",
    "FFLError",
    "FFSDModel",
    "FeatureFusionModel",
    "InputError",
    "KnowledgeDistillationModel",
    "MutualLearningModel",
    "OneModel",
    "PeerCollaborativeModel",
    "TrainingDiverged",
    "Unfinished",
    "VanillaModel",
    "as_subnetwork",
    "data",
    "export",
    "layers",
    "losses",
    "methods",
    "models",
    "optimizers",
    "preset",
    "tasks",
    "training",
]
