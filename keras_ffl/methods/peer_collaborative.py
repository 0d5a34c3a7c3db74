"""Peer Collaborative Learning, PCL (Wu & Gong, 2021)."""

import dataclasses
import functools

import keras

from keras_ffl.fields import field
from keras_ffl.methods.fused_head import FusedHead, check_head, fused_output
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import Branches, DistillationOptions, Method
from keras_ffl.models.components import global_average


@keras.saving.register_keras_serializable(package="keras_ffl")
class PeerCollaborativeModel(FusedHead, ParallelMethod):
    """Trains peers that learn from their ensemble and their mean teachers.

    The peer ensemble classifies the pooled features of all networks; a mean
    teacher of each network teaches the others:

        z_f = dense(concat_k GAP(F_k))
        L   = sum_k CE(y, z_k) + CE(y, z_f) + w(t) T² sum_k [
                  KL(z_f -> z_k) + 1/(n - 1) sum_{j != k} KL(z̃_j -> z_k) ]

    Teachers are constants in the divergences. In training an image comes as
    `views` (batch, n, h, w, c), n augmentations of it: network k and its mean
    teacher see the k-th, so that z̃_j is the prediction for the view of its
    own network. Images (batch, h, w, c) are seen by all networks, as in
    evaluation.

    The mean teachers' weights and batch norm statistics are moving averages
    of the networks', and they run in inference mode, see
    `keras_ffl.methods.mean_teachers.MeanTeachers`. (The paper leaves open how
    they normalise.)

    The heads are `fused`, the peer ensemble, `sub_1`, ..., `sub_n`, the
    peers, `teacher_1`, ..., `teacher_n`, their mean teachers, and the derived
    "ensemble", the peers' mean logits. `teacher_1` is deployed; every peer
    and every teacher is a network of the same size. The cross-entropies
    `ce_fused` and `ce_sub_k`, `pe` (from the peer ensemble) and `pm` (from
    the mean teachers), both with T² and without w, are logged.

    Args:
        subnetworks: As in `keras_ffl.FeatureFusionModel`; branches on a
            shared trunk in the paper.
        rampup_epochs: Number >= 0, length R of the ramp-up of w in epochs
            (80 on CIFAR); 0 for w = 1 throughout.
        temperature: Float > 0, T.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once for an image, and once
            for each of its views.
        head: Keras layer, model or function from the networks' pooled and
            concatenated features (batch, C_1 + ... + C_n) to the peer
            ensemble's output, which has the shape of a sub-network's logits;
            None for a dense layer. As in `keras_ffl.FeatureFusionModel`.
        task, distillation: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: The sub-networks don't fit together or can't be copied,
            an option is out of range, or `head` can't be used.

    Reference:
        Wu & Gong, 2021, "Peer Collaborative Learning for Online Knowledge
        Distillation", https://arxiv.org/abs/2006.04147.
    """

    primary_head = "teacher_1"
    takes_views = True

    def __init__(
        self,
        subnetworks,
        rampup_epochs,
        temperature=3.0,
        name="peer_collaborative_model",
        *,
        preprocessing=None,
        head=None,
        task=None,
        distillation=None,
    ):
        head_name = check_head(head)
        super().__init__(
            subnetworks,
            rampup_epochs,
            name,
            preprocessing=preprocessing,
            task=task,
            more_logits=functools.partial(_peer_ensemble, head),
            with_teachers=True,
        )
        self.set_distillation(temperature, distillation)
        self._fused_head_name = head_name

    def distillation_terms(self, y, logits):
        """T² times the divergences from peer ensemble and mean teachers."""
        subs = self.sub_logits(logits)
        teachers = [logits[head] for head in self.teacher_heads]
        ensemble = sum(self.divergence(y, logits["fused"], sub) for sub in subs)
        from_teachers = sum(
            self.divergence(y, teacher, sub)
            for k, sub in enumerate(subs)
            for j, teacher in enumerate(teachers)
            if j != k
        )
        return {"pe": ensemble, "pm": from_teachers / (len(subs) - 1)}

    def get_config(self):
        return {
            **super().get_config(),
            "rampup_epochs": self.rampup_epochs,
            **self.distillation_config(),
        }


def _peer_ensemble(head, image, networks):
    """The output of a head for the networks' pooled features."""
    maps = [network["features"] for network in networks]
    pooled = [
        global_average(each, f"peer_pooling_{k}", each.dtype)
        for k, each in enumerate(maps, start=1)
    ]
    dtype = keras.backend.result_type(*(each.dtype for each in maps))
    together = keras.layers.Concatenate(dtype=dtype, name="peer_features")
    features = together(pooled)
    return {
        "fused": fused_output(
            features, head, networks[0]["logits"], "the networks"
        )
    }


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PeerCollaborativeOptions(DistillationOptions, Branches):
    """Options of PCL, in addition to those of its base classes.

    Attributes:
        branches: Number of networks if there is one name.
        views: Whether each network sees an augmentation of its own.
    """

    branches: int = field(3, 1, 64)
    views: bool = field(True)


METHOD = Method(
    PeerCollaborativeModel,
    "PCL",
    PeerCollaborativeOptions,
    lambda subnetworks, config: PeerCollaborativeModel(
        subnetworks, **config.options.distillation_arguments
    ),
)
