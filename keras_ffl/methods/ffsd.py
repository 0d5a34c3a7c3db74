"""Feature Fusion and Self-Distillation, FFSD (Li et al., 2022)."""

import dataclasses
import itertools

import keras

from keras_ffl.errors import InputError
from keras_ffl.fields import field
from keras_ffl.layers.maps import common_shapes
from keras_ffl.losses import attention_distance
from keras_ffl.methods.fused_head import (
    FusedFeatures,
    check_head,
    checked_fusion,
    fused_logits,
)
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import (
    DistillationOptions,
    Method,
    Options,
    SeveralNetworks,
    check_one_name,
)
from keras_ffl.number_checks import check_number
from keras_ffl.tasks.task import fits


@keras.saving.register_keras_serializable(package="keras_ffl")
class FFSDModel(FusedFeatures, ParallelMethod):
    """Trains students, a fusion of their features, and a leader (FFSD).

    The students learn from each other, the fused classifier from the
    students' ensemble, and one more network, the leader, from the fused
    classifier. The leader is the network to deploy:

        students  CE(y, z_k) + T²/(n - 1) sum_{j != k} KL(z_j -> z_k)
                  + w(t) λ_div ‖Â_k - shift(Â_{k-1})‖²        (for k > 1)
        fusion    CE(y, z_f) + T² KL(z_e -> z_f)
        leader    CE(y, z_l) + T² KL(z_f -> z_l) + w(t) λ_f ‖Â_l - Â_f‖²

    Â is `keras_ffl.losses.attention_map` of a network's features or of the
    fused ones. All teachers are constants, and the fusion takes the students'
    features as constants: each line trains its own weights only, all in one
    step.

    Where the paper leaves room:

    * **shift** is `keras_ffl.losses.shifted_attention`: 1 - Â for the upper
      two thirds of the positions. All of it is a constant, so student k is
      drawn to where student k - 1 attends less, and student k - 1 isn't moved.
      The first student has no such term.
    * **w(t)**, the ramp-up, multiplies the two attention terms only, as in
      the published code (where it takes 5 epochs).
    * **Squared norms** are sums over the positions, as in the equations. The
      published code has means: divide λ by the number of positions (64 for
      maps of 8x8) for its values.
    * The published code's self-distillation through upsampling decoders, and
      its second attention term through a second fusion module on the leader,
      are left out.

    The heads are `fused`, `sub_1`, ..., `sub_n` (the students), `leader` and
    the derived "ensemble", the mean of the students' logits. Logged are
    `ce_<head>`, `mutual_sub_k`, `ekd` (to the fused classifier) and `fkd` (to
    the leader) with T², `diversity_sub_k` and `attention` with λ and without
    w, and `distillation_weight` (w).

    Args:
        subnetworks: List of n + 1 functional models, n >= 2 students and the
            leader, which comes last, from one image shape to `{"features":
            (batch, h, w, C_k), "logits": (batch, classes)}`, without shared
            weights. Architectures may differ if their features have as many
            positions. Features may also be tokens (batch, tokens, C_k), and
            vectors (batch, C_k) if both weights of attention terms are 0.
        rampup_epochs: Number >= 0, length R of the ramp-up w of the attention
            terms in epochs; 0 for w = 1 throughout.
        temperature: Float > 0, T.
        diversity_weight: Float >= 0, λ_div; 0 for no such term.
        attention_weight: Float >= 0, λ_f; 0 for no such term.
        fusion, preprocessing, head, task, distillation: As in
            `keras_ffl.FeatureFusionModel`.
        name: Name of the model.

    Raises:
        InputError: As in `keras_ffl.FeatureFusionModel`, sub-networks share
            weights, or features of which attention maps are compared have
            different positions, or none.

    Reference:
        Li et al., 2022, "Distilling a Powerful Student Model via Online
        Knowledge Distillation", https://arxiv.org/abs/2103.14473.
    """

    primary_head = "leader"
    shares_nothing = True
    fewest = 3

    def __init__(
        self,
        subnetworks,
        rampup_epochs=5,
        temperature=2.0,
        diversity_weight=1e-5,
        attention_weight=10.0,
        fusion=None,
        name="ffsd_model",
        *,
        preprocessing=None,
        head=None,
        task=None,
        distillation=None,
    ):
        head_name = check_head(head)
        fusion = checked_fusion(fusion)
        check_number("diversity_weight", diversity_weight)
        check_number("attention_weight", attention_weight)
        super().__init__(
            subnetworks,
            rampup_epochs,
            name,
            preprocessing=preprocessing,
            task=task,
            more_logits=lambda image, networks: fused_logits(
                fusion, head, image, networks[:-1]
            ),
        )
        self.set_distillation(temperature, distillation)
        self.diversity_weight = float(diversity_weight)
        self.attention_weight = float(attention_weight)
        self.set_fusion(fusion, head_name)
        self._check_positions()
        fused = self.detached_fusion()
        maps = {**self.feature_maps(), "fused": fused["features"]}
        self._step_outputs = {"fused": fused["fused"]} | {
            f"{head}_features": each for head, each in maps.items()
        }

    @classmethod
    def from_copies(cls, name, count=2, **options):
        """Builds students and a leader of one architecture.

        Args:
            name: Network name of `keras_ffl.models.build`.
            count: Int >= 2, number of students.
            **options: As in `ParallelMethod.from_copies`.

        Returns:
            A model of the class.

        Raises:
            InputError: As in the class and in `keras_ffl.models.build`.
        """
        return super().from_copies(name, count + 1, **options)

    # ----- parts ---------------------------------------------------------

    @staticmethod
    def network_heads(count):
        """The heads of the students and of the leader, a list."""
        return [*ParallelMethod.network_heads(count - 1), "leader"]

    @property
    def sub_heads(self):
        """The heads of the students, a list."""
        return super().sub_heads[:-1]

    def _compared(self):
        """Teacher, student and weight of the attention terms, by name."""
        terms = {}
        if self.diversity_weight:
            for teacher, student in itertools.pairwise(self.sub_heads):
                name = f"diversity_{student}"
                terms[name] = teacher, student, self.diversity_weight
        if self.attention_weight:
            terms["attention"] = "fused", "leader", self.attention_weight
        return terms

    def _check_positions(self):
        maps = self.feature_maps()
        for name, (*heads, _) in self._compared().items():
            shapes = [tuple(maps[head].shape) for head in heads]
            sizes = []
            if all(len(shape) > 2 for shape in shapes):
                common = common_shapes(shapes, type(self).__name__)
                sizes = [shape[1:-1] for shape in common]
            if not sizes or not fits(*sizes):
                option = f"{name.partition('_')[0]}_weight"
                raise InputError(
                    f"`{option}` must be 0 unless the features of {heads[0]} "
                    f"and {heads[1]} have the same positions, got features "
                    f"{shapes[0][1:]} and {shapes[1][1:]}"
                )

    # ----- loss ----------------------------------------------------------

    def supervised_terms(self, y, logits):
        """The terms without a ramp-up: cross-entropies and divergences."""
        terms = super().supervised_terms(y, logits)
        for head in self.sub_heads:
            terms[f"mutual_{head}"] = self.mutual_term(y, logits, head)
        ensemble = self.derived_heads(logits)["ensemble"]
        terms["ekd"] = self.divergence(y, ensemble, logits["fused"])
        terms["fkd"] = self.divergence(y, logits["fused"], logits["leader"])
        return terms

    def distillation_terms(self, y, logits):
        """The distances between attention maps, with their weights."""
        return {
            name: weight
            * attention_distance(
                logits[f"{teacher}_features"],
                logits[f"{student}_features"],
                shift=name.startswith("diversity"),
            )
            for name, (teacher, student, weight) in self._compared().items()
        }

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        return {
            **super().get_config(),
            "rampup_epochs": self.rampup_epochs,
            **self.distillation_config(),
            "diversity_weight": self.diversity_weight,
            "attention_weight": self.attention_weight,
        }


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FFSDOptions(DistillationOptions, SeveralNetworks):
    """Options of FFSD; `branches` is the number of students.

    Attributes:
        fusion_weight_decay: L2 decay of fusion module and fused classifier.
        rampup_epochs: Length R of the ramp-up of the attention terms in
            epochs, 0 for none.
        diversity_weight: λ_div of the students' attention.
        attention_weight: λ_f of the leader's attention.
    """

    fusion_weight_decay: float = field(1e-5, 0, 1e3)
    temperature: float = field(2.0, 1e-3, 1e3)
    rampup_epochs: float = field(5.0, 0)
    diversity_weight: float = field(1e-5, 0, 1e6)
    attention_weight: float = field(10.0, 0, 1e6)

    def check(self, method, config):
        check_one_name(method, config)
        super().check(method, config)

    @property
    def weight_decay_groups(self):
        return {"fusion": self.fusion_weight_decay}

    def make_networks(self, names, num_classes, input_shape):
        """The students and, last, the leader."""
        return Options.make_networks(
            self, names * (self.branches + 1), num_classes, input_shape
        )


def _build(subnetworks, config):
    options = config.options
    return FFSDModel(
        subnetworks,
        **options.distillation_arguments,
        diversity_weight=options.diversity_weight,
        attention_weight=options.attention_weight,
    )


METHOD = Method(FFSDModel, "FFSD", FFSDOptions, _build)
