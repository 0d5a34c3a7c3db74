"""Feature Fusion Learning (Kim et al., 2019)."""

import dataclasses
import functools

import keras

from keras_ffl.fields import field
from keras_ffl.layers import FeatureAverage, FusionModule
from keras_ffl.methods.fused_head import (
    FusedFeatures,
    check_head,
    checked_fusion,
    fused_logits,
)
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import Branches, DistillationOptions, Method
from keras_ffl.number_checks import check_bool


@keras.saving.register_keras_serializable(package="keras_ffl")
class FeatureFusionModel(FusedFeatures, ParallelMethod):
    """Trains parallel sub-networks and a fused classifier with each other.

    All sub-networks see the same image; in training an image may also come
    as views (batch, n, h, w, c), of which network k sees the k-th (not in the
    paper). A fusion module combines their last
    features into one map, one sequence of tokens or one vector, which a fused
    classifier classifies. The
    ensemble of the sub-networks (mean logits) teaches the fused classifier
    (EKD), and the fused classifier teaches every sub-network (FKD):

        L = sum_k CE(y, z_k) + CE(y, z_f)
            + w(t) T² (KL(z_e -> z_f) + sum_k KL(z_f -> z_k))

    The model is functional; its outputs are float32 logits by head:
    `{"fused", "sub_1", ..., "sub_n"}`. Metrics and `classifier` also include
    the head "ensemble". It trains with `compile` and `fit` like any Keras
    model. It logs `loss`, `ce_fused`, `ce_sub_k`, `ekd` and `fkd` (with T²,
    without w), `distillation_weight` (w), and the metrics of all heads.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`:
            from `keras_ffl.models.build`, `build_branches` or
            `as_subnetwork`. Features may also be tokens (batch, tokens, C_k)
            or vectors (batch, C_k). Networks and channel counts may differ,
            and maps and tokens may be mixed, see `FusionModule`.
        rampup_epochs: Number >= 0, length R of the ramp-up of the
            distillation's weight w in epochs (80 in the paper on CIFAR); 0
            for w = 1 throughout.
        temperature: Float > 0, T.
        use_ekd: Bool, whether the ensemble teaches the fused classifier.
        use_fkd: Bool, whether the fused classifier teaches the sub-networks.
        ema_teacher: Bool, whether the EKD's ensemble is that of the
            sub-networks' mean teachers, z_e = mean_k z̃_k, instead of their
            own (not in the paper): moving averages of the sub-networks, which
            make a steadier teacher, with the heads `teacher_1`, ...,
            `teacher_n`; see `keras_ffl.methods.mean_teachers.MeanTeachers`.
        fusion: Layer from the list of features to one (batch, h, w, N),
            (batch, tokens, N) or (batch, N); by default `FusionModule()`. It
            must belong to this model alone.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once, see
            `keras_ffl.methods.parallel.ParallelMethod`.
        head: Keras layer, model or function from the fused features to the
            fused output, which has the shape of a sub-network's logits; None
            for global average pooling and a dense layer. It must belong to
            this model alone. A function becomes a nested model and is saved
            as such, with the layers that it made or used.
        task: `keras_ffl.tasks.Task`, None for `Classification()`: what the
            networks learn, that is the loss against the labels, the divergence
            between outputs and their average.
        distillation: Divergence of the predictions, such as
            `keras_ffl.losses.StandardizedKL()`; None for that of the task.
        detach_fusion: Bool, whether the fusion takes the features as
            constants, as in FFSD, so that the losses of the fused classifier
            don't train the sub-networks. In `fit` and `train_on_batch` only:
            `classifier` and exported files are the same either way.

    Raises:
        InputError: The sub-networks don't fit together, an option is out of
            range, `fusion` doesn't return such features, or `head` is neither
            a layer nor a function, can't be called on them or gives another
            shape.

    Example:

    ```python
    model = keras_ffl.FeatureFusionModel.from_branches(
        "resnet32", branches=2, num_classes=100, rampup_epochs=80
    )
    model.compile(metrics=["accuracy"])
    model.fit(train_data, epochs=300, validation_data=test_data)
    small_network = model.classifier("sub_1")
    ```

    Reference:
        Kim et al., 2019, "Feature Fusion for Online Mutual Knowledge
        Distillation", https://arxiv.org/abs/1904.09058.
    """

    primary_head = "fused"
    takes_views = True

    def __init__(
        self,
        subnetworks,
        rampup_epochs,
        temperature=3.0,
        use_ekd=True,
        use_fkd=True,
        fusion=None,
        name="feature_fusion_model",
        *,
        preprocessing=None,
        head=None,
        task=None,
        distillation=None,
        detach_fusion=False,
        ema_teacher=False,
    ):
        head_name = check_head(head)
        fusion = checked_fusion(fusion)
        super().__init__(
            subnetworks,
            rampup_epochs,
            name,
            preprocessing=preprocessing,
            task=task,
            more_logits=functools.partial(fused_logits, fusion, head),
            with_teachers=check_bool("ema_teacher", ema_teacher),
        )
        self.set_distillation(temperature, distillation)
        self.use_ekd = check_bool("use_ekd", use_ekd)
        self.use_fkd = check_bool("use_fkd", use_fkd)
        self.set_fusion(fusion, head_name)
        if check_bool("detach_fusion", detach_fusion):
            self._step_outputs = {"fused": self.detached_fusion()["fused"]}

    @property
    def detach_fusion(self):
        """Bool, whether the fusion takes the features as constants."""
        return bool(self._step_outputs)

    # ----- loss ----------------------------------------------------------

    def distillation_terms(self, y, logits):
        """T² times the divergences of eqs. (4) and (5)."""
        fused = logits["fused"]
        terms = {}
        if self.use_ekd:
            heads = self.teacher_heads or self._networks
            ensemble = self.task.average([logits[head] for head in heads])
            terms["ekd"] = self.divergence(y, ensemble, fused)
        if self.use_fkd:
            terms["fkd"] = sum(
                self.divergence(y, fused, sub)
                for sub in self.sub_logits(logits)
            )
        return terms

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        return {
            **super().get_config(),
            **({"detach_fusion": True} if self.detach_fusion else {}),
            **({"ema_teacher": True} if self.teacher_heads else {}),
            "rampup_epochs": self.rampup_epochs,
            **self.distillation_config(),
            "use_ekd": self.use_ekd,
            "use_fkd": self.use_fkd,
        }


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FeatureFusionOptions(DistillationOptions, Branches):
    """Options of FFL, in addition to those of its base classes.

    Attributes:
        fusion: "module" or "average" (ablation B, which doesn't use
            `fusion_filters` and `fusion_width`).
        fusion_filters: Channels of the fused map, None for `fusion_width`.
        fusion_width: Channels of the fused map if `fusion_filters` is None:
            "min" for the smallest channel count of the networks, "sum" for
            their sum.
        fusion_weight_decay: L2 decay of fusion module and fused classifier.
        use_ekd: Whether the ensemble teaches the fused classifier.
        use_fkd: Whether the fused classifier teaches the sub-networks.
        detach_fusion: Whether the fused classifier's losses don't train the
            sub-networks.
        ema_teacher: Whether the ensemble is that of the mean teachers.
        views: Whether each sub-network sees an augmentation of its own.
    """

    fusion: str = field("module", choices=("module", "average"))
    fusion_filters: int | None = field(None, 1)
    fusion_width: str = field("min", choices=("min", "sum"))
    fusion_weight_decay: float = field(1e-5, 0, 1e3)
    use_ekd: bool = field(True)
    use_fkd: bool = field(True)
    detach_fusion: bool = field(False)
    ema_teacher: bool = field(False)
    views: bool = field(False)

    def idle(self, networks):
        reasons = super().idle(networks)
        if self.fusion == "average":
            average = "where `fusion` is average"
            reasons |= dict.fromkeys(
                ("fusion_filters", "fusion_width"), average
            )
        elif self.fusion_filters is not None:
            reasons["fusion_width"] = "where `fusion_filters` is given"
        if not self.use_ekd:
            reasons["ema_teacher"] = "where `use_ekd` is false"
        if not (self.use_ekd or self.use_fkd):
            reasons |= dict.fromkeys(
                ("temperature", "distillation", "rampup_epochs"),
                "where `use_ekd` and `use_fkd` are false",
            )
        return reasons

    @property
    def weight_decay_groups(self):
        return {"fusion": self.fusion_weight_decay}


def _build(subnetworks, config):
    options = config.options
    if options.fusion == "average":
        fusion = FeatureAverage(name="feature_average")
    else:
        filters = options.fusion_filters or options.fusion_width
        fusion = FusionModule(filters, name="fusion_module")
    return FeatureFusionModel(
        subnetworks,
        **options.distillation_arguments,
        use_ekd=options.use_ekd,
        use_fkd=options.use_fkd,
        ema_teacher=options.ema_teacher,
        fusion=fusion,
        detach_fusion=options.detach_fusion,
    )


METHOD = Method(FeatureFusionModel, "FFL", FeatureFusionOptions, _build)
