"""Numbers for every image."""

import keras
from keras import ops

from keras_ffl.backend import same_size_in_step
from keras_ffl.errors import InputError
from keras_ffl.tasks.task import Task, fits


@keras.saving.register_keras_serializable(package="keras_ffl")
class Regression(Task):
    """Every image has one or several numbers.

        loss(y, z) = mean_j (y_j - z_j)²
        divergence(t, z) = mean_j (t_j - z_j)²

    over all outputs j of a sample. The squared distance has no temperature, so
    there is no factor T². Outputs are of any shape (batch, ...), labels of the
    same shape; (batch,) stands for (batch, 1).
    """

    loss_name = "mse"

    def loss(self, y, outputs):
        if len(y.shape) < len(outputs.shape):
            y = ops.expand_dims(y, -1)
        # The sizes of a network for images of any size are known only here,
        message = "`y` must have the shape of the outputs for Regression"
        if not fits(y.shape, outputs.shape):
            raise InputError(f"{message}, {outputs.shape}, got {y.shape}")
        # or when the step runs.
        unknown = None in (*y.shape[1:-1], *outputs.shape[1:-1])
        if unknown and not isinstance(outputs, keras.KerasTensor):
            y, outputs = same_size_in_step([y, outputs], message)
        return _mean_of_squares(ops.cast(y, outputs.dtype) - outputs)

    def divergence(self, teacher, student, temperature, y=None):
        return _mean_of_squares(ops.stop_gradient(teacher) - student)

    def metrics(self, shape):
        return [keras.metrics.MeanAbsoluteError(name="mae")]


def _mean_of_squares(x):
    return ops.mean(ops.square(x), axis=tuple(range(1, len(x.shape))))
