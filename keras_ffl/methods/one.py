"""On-the-fly Native Ensemble, ONE (Lan et al., 2018)."""

import dataclasses
import functools

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.layers import Gate
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import (
    Branches,
    DistillationOptions,
    Method,
    check_one_name,
)
from keras_ffl.methods.subnetworks import check_subnetworks
from keras_ffl.models.branching import shared_feature_map
from keras_ffl.precision import at_least_float32


@keras.saving.register_keras_serializable(package="keras_ffl")
class OneModel(ParallelMethod):
    """Trains branches on a shared trunk that learn from their gated sum.

    A gate on the trunk's feature map weights the branches' logits:

        g   = softmax(relu(BN(dense(GAP(trunk)))))
        z_t = sum_k g_k z_k
        L   = sum_k CE(y, z_k) + CE(y, z_t) + w(t) T² sum_k KL(z_t -> z_k)

    The teacher z_t is a constant in the divergences. The heads are `teacher`
    ("ONE-E" in tables) and `sub_1`, ..., `sub_n` ("ONE": their mean). The
    cross-entropies `ce_<head>` and `kd` (with T², without w) are logged.

    Args:
        subnetworks: List of n >= 2 branches of
            `keras_ffl.models.build_branches`, or other functional models from
            one image tensor to `{"features": (batch, h, w, C), "logits":
            (batch, classes)}` that share their first layers. The gate takes
            their last common feature map. Features may also be tokens (batch,
            tokens, C) or vectors (batch, C).
        rampup_epochs: Number >= 0, length R of the ramp-up of w in epochs
            (80 on CIFAR); 0 for w = 1 throughout.
        temperature: Float > 0, T.
        gate: Layer from the trunk's feature map to weights (batch, n) that
            sum to 1; by default `keras_ffl.layers.Gate(n)`. It belongs to
            this model alone.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once, see
            `keras_ffl.methods.parallel.ParallelMethod`.
        task, distillation: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: The sub-networks don't fit together or have no common
            trunk, or an option is out of range.

    Reference:
        Lan et al., 2018, "Knowledge Distillation by On-the-Fly Native
        Ensemble", https://arxiv.org/abs/1806.04606.
    """

    primary_head = "teacher"
    derived_head_names = ()

    def __init__(
        self,
        subnetworks,
        rampup_epochs,
        temperature=3.0,
        gate=None,
        name="one_model",
        *,
        preprocessing=None,
        task=None,
        distillation=None,
    ):
        check_subnetworks(subnetworks, task=task)
        shared_feature_map(subnetworks)
        if gate is None:
            gate = Gate(len(subnetworks), name="gate")
        if not isinstance(gate, keras.layers.Layer):
            raise InputError(
                f"`gate` must be a Keras layer over a feature map, got {gate!r}"
            )
        if getattr(gate, "branches", len(subnetworks)) != len(subnetworks):
            raise InputError(
                f"`gate` must have a weight for each of the {len(subnetworks)} "
                f"sub-networks, got {gate.branches}"
            )
        super().__init__(
            subnetworks,
            rampup_epochs,
            name,
            preprocessing=preprocessing,
            task=task,
            more_logits=functools.partial(_gated_logits, gate),
        )
        self._gate_name = gate.name
        self.set_distillation(temperature, distillation)

    @property
    def gate(self):
        """The layer that weighs the branches."""
        return self.get_layer(self._gate_name)

    def derived_heads(self, logits):
        """An empty dict: the teacher is ONE's ensemble."""
        return {}

    def distillation_terms(self, y, logits):
        """T² times the divergences of the branches from the teacher."""
        return {
            "kd": sum(
                self.divergence(y, logits["teacher"], sub)
                for sub in self.sub_logits(logits)
            )
        }

    def get_config(self):
        return {
            **super().get_config(),
            "gate": keras.saving.serialize_keras_object(self.gate),
            "rampup_epochs": self.rampup_epochs,
            **self.distillation_config(),
        }


def _gated_logits(gate, image, networks):
    """The sum of the logits, weighted by a gate on the trunk."""
    trunk = shared_feature_map(
        [keras.Model(image, network) for network in networks]
    )
    weights = gate(trunk)
    logits = ops.stack([network["logits"] for network in networks], axis=1)
    dtype = at_least_float32(logits.dtype)
    axes = "mcdefghijkl"[: len(logits.shape) - 2]
    gated = ops.einsum(
        f"bn,bn{axes}->b{axes}",
        ops.cast(weights, dtype),
        ops.cast(logits, dtype),
    )
    return {"teacher": gated}


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OneOptions(DistillationOptions, Branches):
    """Options of ONE."""

    def check(self, method, config):
        check_one_name(method, config)
        super().check(method, config)
        if self.separate_stages < 1:
            raise InputError(
                f"`separate_stages` must be at least 1 for method {method}, "
                f"whose gate needs a shared trunk, got {self.separate_stages}"
            )


METHOD = Method(
    OneModel,
    "ONE",
    OneOptions,
    lambda subnetworks, config: OneModel(
        subnetworks, **config.options.distillation_arguments
    ),
)
