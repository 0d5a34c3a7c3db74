"""Feature Fusion Learning (Kim et al., 2019)."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.layers import FusionModule
from keras_ffl.losses import distillation_kl
from keras_ffl.losses.distillation import check_temperature
from keras_ffl.methods.base import TrainingMethod, cross_entropy
from keras_ffl.methods.subnetworks import (
    check_subnetworks,
    connect,
    logits_head,
)
from keras_ffl.models import build_branches
from keras_ffl.models.components import classifier
from keras_ffl.optimizers import set_decay_group


@keras.saving.register_keras_serializable(package="keras_ffl")
class FeatureFusionModel(TrainingMethod):
    """Trains parallel sub-networks and a fused classifier, each by the other.

    All sub-networks see the same image. A fusion module makes one feature
    map of their last feature maps, and a fused classifier stands on it. The
    ensemble of the sub-networks (mean logits) teaches the fused classifier
    (EKD), and the fused classifier teaches every sub-network (FKD):

        L = sum_k CE(y, z_k) + CE(y, z_f)
            + w(t) T² (KL(z_e -> z_f) + sum_k KL(z_f -> z_k))

    The model is functional; its outputs are float32 logits by head:
    `{"fused", "sub_1", ..., "sub_n"}`. Metrics and `classifier` also know the
    head "ensemble". It trains with `compile` and `fit` like any Keras model.
    Logged are `loss`, `ce_fused`, `ce_sub_k`, `ekd` and `fkd` (with T²,
    without w), `distillation_weight` (w), and the metrics of all heads.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`:
            from `keras_ffl.models.build`, `build_branches` or
            `as_subnetwork`. Networks and channel counts may differ.
        rampup_epochs: Number >= 0, length R of the ramp-up of the
            distillation's weight w in epochs (80 in the paper on CIFAR); 0
            for w = 1 throughout.
        temperature: Float > 0, T.
        use_ekd: Whether the ensemble teaches the fused classifier.
        use_fkd: Whether the fused classifier teaches the sub-networks.
        fusion: Layer from the list of feature maps to one (batch, h, w, N);
            by default `FusionModule()`. It belongs to this model alone.
        name: Name of the model.

    Raises:
        InputError: The sub-networks don't fit together, an option is out of
            range, or `fusion` gives no 4-D map.

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
    derived_head_names = ("ensemble",)

    def __init__(
        self,
        subnetworks,
        rampup_epochs,
        temperature=3.0,
        use_ekd=True,
        use_fkd=True,
        fusion=None,
        name="feature_fusion_model",
    ):
        check_subnetworks(subnetworks, minimum=2)
        fusion = (
            FusionModule(name="fusion_module") if fusion is None else fusion
        )
        if not isinstance(fusion, keras.layers.Layer):
            raise InputError(
                "`fusion` must be a Keras layer over a list of feature maps, "
                f"got {fusion!r}"
            )
        image, networks = connect(subnetworks)
        fused_map = fusion([network["features"] for network in networks])
        if len(fused_map.shape) != 4:
            raise InputError(
                "`fusion` must give a 4-D feature map, got shape "
                f"{tuple(fused_map.shape)}"
            )
        classes = networks[0]["logits"].shape[-1]
        fused_logits = classifier(fused_map, classes, prefix="fused_")
        outputs = {"fused": logits_head(fused_logits, "fused")}
        for k, network in enumerate(networks, start=1):
            outputs[f"sub_{k}"] = logits_head(network["logits"], f"sub_{k}")
        super().__init__(image, outputs, rampup_epochs, name=name)
        self.temperature = check_temperature(temperature)
        self.use_ekd = bool(use_ekd)
        self.use_fkd = bool(use_fkd)
        self._fusion_name = fusion.name
        for layer in (fusion, self.get_layer("fused_classifier")):
            set_decay_group(layer.variables, "fusion")

    @classmethod
    def from_branches(
        cls,
        name,
        branches=2,
        *,
        num_classes,
        rampup_epochs,
        input_shape=(32, 32, 3),
        separate_stages=1,
        **options,
    ):
        """Case 1: branches of one architecture on a shared trunk.

        Args:
            name: Network name of `keras_ffl.models.build`.
            branches: Int >= 2, number of sub-networks.
            num_classes: Int >= 2.
            rampup_epochs: As of the class.
            input_shape: Image shape (h, w, c).
            separate_stages: Int >= 1, how many of the last stages every
                branch has for itself.
            **options: Further arguments of the class.

        Returns:
            `FeatureFusionModel`.

        Raises:
            InputError: As of the class and of
                `keras_ffl.models.build_branches`.
        """
        subnetworks = build_branches(
            name, branches, num_classes, input_shape, separate_stages
        )
        return cls(subnetworks, rampup_epochs, **options)

    # ----- parts ---------------------------------------------------------

    @property
    def fusion(self):
        """The layer that fuses the feature maps."""
        return self.get_layer(self._fusion_name)

    @property
    def branches(self):
        """Number of sub-networks, an int."""
        return len(self.trained_heads) - 1

    @property
    def subnetworks(self):
        """The sub-networks as functional models that share the weights."""
        return [
            keras.Model(
                self.input,
                {
                    "features": features,
                    "logits": self.get_layer(f"sub_{k}").input,
                },
                name=f"sub_{k}_network",
            )
            for k, features in enumerate(self.fusion.input, start=1)
        ]

    def feature_extractor(self, head):
        """A plain functional model of one feature map, sharing the weights.

        Args:
            head: "fused" or "sub_k".

        Returns:
            `keras.Model` from the image to the feature map (batch, h, w, C)
            that the head's classifier pools.

        Raises:
            InputError: The head has no feature map.
        """
        maps = {"fused": self.fusion.output}
        for k, features in enumerate(self.fusion.input, start=1):
            maps[f"sub_{k}"] = features
        self.check_head(head, tuple(maps))
        return keras.Model(self.input, maps[head], name=f"{head}_features")

    def _sub_logits(self, logits):
        return [logits[f"sub_{k}"] for k in range(1, self.branches + 1)]

    def derived_heads(self, logits):
        """The ensemble: the mean of the sub-networks' logits, eq. (3)."""
        return {"ensemble": sum(self._sub_logits(logits)) / self.branches}

    # ----- loss ----------------------------------------------------------

    def supervised_terms(self, y, logits):
        """Cross-entropy of every head, eq. (2)."""
        return {
            f"ce_{head}": cross_entropy(y, logits[head])
            for head in self.trained_heads
        }

    def distillation_terms(self, logits):
        """T² times the divergences of eqs. (4) and (5)."""
        fused = logits["fused"]
        terms = {}
        if self.use_ekd:
            ensemble = self.derived_heads(logits)["ensemble"]
            terms["ekd"] = self._kl(ensemble, fused)
        if self.use_fkd:
            terms["fkd"] = sum(
                self._kl(fused, sub) for sub in self._sub_logits(logits)
            )
        return terms

    def _kl(self, teacher, student):
        return self.temperature**2 * distillation_kl(
            teacher, student, self.temperature
        )

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        networks = keras.Model(
            self.input, [network.output for network in self.subnetworks]
        )
        return {
            "name": self.name,
            "networks": keras.saving.serialize_keras_object(networks),
            "fusion": keras.saving.serialize_keras_object(self.fusion),
            "rampup_epochs": self.rampup_epochs,
            "temperature": self.temperature,
            "use_ekd": self.use_ekd,
            "use_fkd": self.use_fkd,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        networks, fusion = (
            keras.saving.deserialize_keras_object(
                config.pop(key), custom_objects=custom_objects
            )
            for key in ("networks", "fusion")
        )
        subnetworks = [
            keras.Model(networks.input, outputs) for outputs in networks.output
        ]
        return cls(subnetworks, fusion=fusion, **config)
