"""One network trained alone, the baseline of every comparison."""

import keras

from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.rows import Method, Options
from keras_ffl.methods.subnetworks import check_subnetworks, logits_head
from keras_ffl.methods.terms import cross_entropy


@keras.saving.register_keras_serializable(package="keras_ffl")
class VanillaModel(TrainingMethod):
    """Trains a single network with cross-entropy; its head is "vanilla".

    Args:
        network: Functional model from an image to
            `{"features": (batch, h, w, C), "logits": (batch, classes)}`.
        name: Name of the model.

    Raises:
        InputError: `network` is no such model.
    """

    primary_head = "vanilla"

    def __init__(self, network, name="vanilla_model"):
        check_subnetworks([network])
        outputs = {"vanilla": logits_head(network.output["logits"], "vanilla")}
        super().__init__(network.input, outputs, name=name)
        self._network_output = network.output

    @property
    def network(self):
        """The network as a functional model that shares the weights."""
        return keras.Model(self.input, self._network_output)

    def feature_maps(self):
        """The last feature map, a dict from head to `keras.KerasTensor`."""
        return {"vanilla": self._network_output["features"]}

    def feature_extractor(self, head="vanilla"):
        """A plain functional model of the last feature map.

        Args:
            head: "vanilla".

        Returns:
            `keras.Model` from the image to the map (batch, h, w, C).

        Raises:
            InputError: There is no such head.
        """
        self.check_head(head)
        features = self.feature_maps()[head]
        return keras.Model(self.input, features, name=f"{head}_features")

    def supervised_terms(self, y, logits):
        """Cross-entropy of the network."""
        return {"ce_vanilla": cross_entropy(y, logits["vanilla"])}

    def get_config(self):
        return {
            "name": self.name,
            "network": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        network = keras.saving.deserialize_keras_object(
            config.pop("network"), custom_objects=custom_objects
        )
        return cls(network, **config)


METHOD = Method(
    VanillaModel,
    "vanilla",
    Options,
    lambda subnetworks, config: VanillaModel(*subnetworks),
)
