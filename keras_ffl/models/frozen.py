"""Models that never train."""

import keras

from keras_ffl.models.copying import copy_model
from keras_ffl.models.graph import clear_losses, layers_within


def frozen_copy(network):
    """Copies a network as a frozen model of the same outputs.

    Args:
        network: Functional `keras.Model` of one input.

    Returns:
        `FrozenClassifier` with the name of `network`.

    Raises:
        InputError: A layer or its values can't be copied.
    """
    copy = copy_model(network, argument="subnetworks")
    return frozen(copy.input, copy.output, network.name)


def frozen(image, outputs, name):
    """Makes a model frozen, with all layers inside it.

    Args:
        image: KerasTensor, the input.
        outputs: KerasTensors of its graph.
        name: Name of the model.

    Returns:
        `FrozenClassifier`.
    """
    model = FrozenClassifier(image, outputs, name=name)
    # Keras passes `trainable` on only when it changes: a layer created frozen
    # may have created trainable layers inside.
    for layer in (model, *layers_within(model)):
        layer.trainable = False
        layer.activity_regularizer = None
    return model


@keras.saving.register_keras_serializable(package="keras_ffl")
class FrozenClassifier(keras.Model):
    """A functional model that always runs in inference mode.

    A functional model runs nested models in its own mode and overrides a
    `training=False` in their call. It stays frozen when the model around it
    is made trainable, and has no part in a loss, whatever its layers add.
    """

    @property
    def trainable(self):
        """Always False."""
        return False

    @trainable.setter
    def trainable(self, value):
        keras.Model.trainable.fset(self, False)

    def call(self, inputs, training=None, mask=None):
        outputs = super().call(inputs, training=False, mask=mask)
        clear_losses(self)
        return outputs
