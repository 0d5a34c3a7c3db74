"""A single network trained alone, the baseline of every comparison."""

import keras

from keras_ffl.methods.rows import Method, Options
from keras_ffl.methods.single_network import SingleNetworkMethod
from keras_ffl.methods.subnetworks import check_subnetwork


@keras.saving.register_keras_serializable(package="keras_ffl")
class VanillaModel(SingleNetworkMethod):
    """Trains a single network with labels only; its head is "vanilla".

    Args:
        network: Functional model from an image to
            `{"features": (batch, h, w, C), "logits": (batch, classes)}`.
        name: Name of the model.
        task: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: `network` is not such a model.
    """

    primary_head = "vanilla"

    def __init__(self, network, name="vanilla_model", *, task=None):
        check_subnetwork(network, task)
        super().__init__(
            network.input,
            {"vanilla": network.output["logits"]},
            {"vanilla": network.output},
            name=name,
            task=task,
        )


METHOD = Method(
    VanillaModel,
    "vanilla",
    Options,
    lambda subnetworks, config: VanillaModel(*subnetworks),
)
