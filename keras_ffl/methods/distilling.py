"""How predictions teach in a method."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.losses import SoftmaxKL
from keras_ffl.number_checks import check_temperature


class Distilling:
    """Mixin of methods with a `task`: the divergence of their predictions.

    Constructors of methods that distil call `set_distillation`.
    """

    distillation = None

    def set_distillation(self, temperature, distillation=None):
        """Sets how predictions teach.

        Args:
            temperature: Float > 0, T.
            distillation: Object such as `keras_ffl.losses.SoftmaxKL()`, or
                None for the task's divergence.

        Raises:
            InputError: `temperature` is not a number > 0, or `distillation`
                is no such object or is given for another task than
                `Classification`.
        """
        self.temperature = check_temperature(temperature)
        if distillation is not None and not (
            isinstance(distillation, SoftmaxKL) and self.task.counts_classes
        ):
            raise InputError(
                "`distillation` must be None or, for Classification, a "
                "divergence such as keras_ffl.losses.StandardizedKL(), got "
                f"{distillation!r} for {type(self.task).__name__}"
            )
        self.distillation = distillation

    def divergence(self, y, teacher, student):
        """A student's divergence from a constant teacher, (batch,) tensor."""
        divergence = self.distillation or self.task.divergence
        teacher = ops.stop_gradient(teacher)
        return divergence(teacher, student, self.temperature, y)

    def distillation_config(self):
        """What `get_config` returns of `set_distillation`, a dict."""
        config = {"temperature": self.temperature}
        if self.distillation is not None:
            config["distillation"] = keras.saving.serialize_keras_object(
                self.distillation
            )
        return config
