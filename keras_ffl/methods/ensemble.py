"""Independent networks whose predictions are averaged ("2-net")."""

import keras

from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import Method, SeveralNetworks


@keras.saving.register_keras_serializable(package="keras_ffl")
class EnsembleModel(ParallelMethod):
    """Trains independent networks side by side.

        L = sum_k CE(y, z_k)

    No gradient of one network reaches another: with an optimizer that treats
    each weight separately, the networks train as they would alone. The heads
    are `sub_1`, ..., `sub_n` and the derived "ensemble", the mean logits.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`
            without shared weights. Architectures may differ.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once, see
            `keras_ffl.methods.parallel.ParallelMethod`.
        task: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: The sub-networks don't fit together or share weights.

    Reference:
        The rival "2-net" of Kim et al., 2019,
        https://arxiv.org/abs/1904.09058, Table VI. The paper doesn't say what
        it averages; here it is the logits.
    """

    shares_nothing = True

    def __init__(
        self,
        subnetworks,
        name="ensemble_model",
        *,
        preprocessing=None,
        task=None,
    ):
        super().__init__(
            subnetworks, name=name, preprocessing=preprocessing, task=task
        )


METHOD = Method(
    EnsembleModel,
    "2-net",
    SeveralNetworks,
    lambda subnetworks, config: EnsembleModel(subnetworks),
)
