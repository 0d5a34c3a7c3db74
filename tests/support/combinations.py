"""Every method with every task and features of every rank."""

import math

import keras

from keras_ffl import FeatureFusionModel, VanillaModel
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    FFSDModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    PeerCollaborativeModel,
)
from support import ranks
from support.builders import moved
from support.task_references import TASKS

LAYERS = keras.layers
KINDS = ("maps", "tokens", "vectors")


def end(features, shape, name):
    """An output of a shape (without the batch) from features of any rank."""
    if len(shape) == 1:
        pooling = ranks.POOLING[len(features.shape)]
        features = pooling(name=f"{name}_pool")(features)
        return LAYERS.Dense(*shape, name=f"{name}_dense")(features)
    positions = math.prod(features.shape[1:-1])
    width = math.prod(shape) // positions
    x = LAYERS.Dense(width, name=f"{name}_dense")(features)
    return LAYERS.Reshape(shape, name=f"{name}_shaped")(x)


class Combination:
    """Networks of one kind of features for one task.

    Args:
        kind: A key of `ranks.FEATURES`.
        task: A key of `TASKS`.
    """

    def __init__(self, kind, task):
        self.kind = kind
        self.task, self.shape, *_ = TASKS[task]
        # What a method with a fused classifier needs besides.
        self.options = {"task": self.task}
        if len(self.shape) > 1:
            self.options["head"] = lambda x: end(x, self.shape, "fused")

    def network(self, name="net", channels=4, trunk=None):
        image, x = trunk or [keras.Input(ranks.IMAGE)] * 2
        features = ranks.FEATURES[self.kind](x, channels, name)
        outputs = {
            "features": features,
            "logits": end(features, self.shape, name),
        }
        return keras.Model(image, outputs, name=name)

    def pair(self, *channels):
        return [
            self.network(f"net_{k}", each)
            for k, each in enumerate(channels or (4, 4), start=1)
        ]

    def branches(self):
        image = keras.Input(ranks.IMAGE)
        trunk = image, ranks.TRUNKS[self.kind](image, 4, "trunk")
        return [self.network(f"net_{k}", trunk=trunk) for k in (1, 2)]

    def teacher(self):
        wise = self.network("wise", channels=6)
        return moved(keras.Model(wise.input, wise.output["logits"]))


MODELS = {
    "ffl": lambda c: FeatureFusionModel(c.pair(4, 6), 0, **c.options),
    "vanilla": lambda c: VanillaModel(c.network(), task=c.task),
    "ensemble": lambda c: EnsembleModel(c.pair(4, 6), task=c.task),
    "dualnet": lambda c: DualNetModel(c.pair(), 1, **c.options),
    "one": lambda c: OneModel(c.branches(), 0, task=c.task),
    "dml": lambda c: MutualLearningModel(c.pair(4, 6), task=c.task),
    "kd": lambda c: KnowledgeDistillationModel(
        c.network(), c.teacher(), task=c.task
    ),
    "ffsd": lambda c: FFSDModel(
        c.pair(4, 6, 4), **ranks.terms(c.kind), **c.options
    ),
    "pcl": lambda c: PeerCollaborativeModel(c.branches(), 0, **c.options),
}


def _made(method, task, kind):
    return lambda: MODELS[method](Combination(kind, task))


METHODS = {
    f"{method}_{task}_{kind}": _made(method, task, kind)
    for method in MODELS
    for task in TASKS
    for kind in KINDS
}
"""Functions without arguments to a model, by method, task and features."""
