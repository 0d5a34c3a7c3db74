"""The base of methods that train one network."""

import keras

from keras_ffl.methods.base import TrainingMethod


class SingleNetworkMethod(TrainingMethod):
    """Base of the methods that train one network, their primary head.

    The constructor takes the network as `network`.
    """

    @property
    def network(self):
        """The network as a functional model with shared weights."""
        return self.subnetworks[0]

    def feature_extractor(self, head=None):
        """As in `TrainingMethod`; None means the primary head."""
        return super().feature_extractor(head or self.primary_head)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
        }
