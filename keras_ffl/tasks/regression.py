"""Numbers for every image."""

import keras
from keras import ops

from keras_ffl.tasks.task import Task


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
        y = ops.reshape(ops.cast(y, outputs.dtype), ops.shape(outputs))
        return _mean_of_squares(y - outputs)

    def divergence(self, teacher, student, temperature, y=None):
        return _mean_of_squares(ops.stop_gradient(teacher) - student)

    def metrics(self, shape):
        return [keras.metrics.MeanAbsoluteError(name="mae")]


def _mean_of_squares(x):
    return ops.mean(ops.square(x), axis=tuple(range(1, len(x.shape))))
