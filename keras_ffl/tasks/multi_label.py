"""Any number of labels for every image."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.losses import binary_distillation_kl
from keras_ffl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_ffl")
class MultiLabel(Task):
    """Every image has or lacks each of m >= 1 labels independently.

        loss(y, z) = -sum_j (y_j log p_j + (1 - y_j) log(1 - p_j)), p = σ(z)
        divergence(t, z) = T² sum_j KL(Bernoulli(σ(t_j / T)) ||
                                       Bernoulli(σ(z_j / T)))

    with the logistic function σ. Both are sums over the labels: the negative
    log-likelihood of all labels of an image and the divergence between two
    predictions of all of them, so that they stand in the same proportion as in
    `Classification`. Outputs are logits (batch, m). Labels are rows (batch, m)
    of 0 and 1, or of probabilities.
    """

    loss_name = "bce"
    activation = "sigmoid"
    output_name = "probabilities"

    def loss(self, y, outputs):
        y = ops.reshape(ops.cast(y, outputs.dtype), ops.shape(outputs))
        return ops.sum(
            ops.binary_crossentropy(y, outputs, from_logits=True), axis=-1
        )

    def divergence(self, teacher, student, temperature, y=None):
        divergence = binary_distillation_kl(teacher, student, temperature)
        return temperature**2 * divergence

    def metrics(self, shape):
        return [binary_accuracy]

    def check_output(self, what, shape):
        if len(shape) != 2 or not shape[-1]:
            raise InputError(
                f"{what} must give one logit for each label, (batch, labels), "
                f"got logits of shape {tuple(shape)}"
            )

    def value_checks(self, y, shape):
        low, high = ops.min(y), ops.max(y)
        inside = ops.logical_and(
            ops.cast(low, "float32") >= 0, ops.cast(high, "float32") <= 1
        )
        expected = "labels must be in 0..1, those of a batch go from"
        return [(inside, expected, low, "to", high)]


@keras.saving.register_keras_serializable(package="keras_ffl")
def binary_accuracy(y, logits):
    """The fraction of labels that are predicted correctly, by sample.

    Args:
        y: Labels (batch, m) in 0..1; (batch,) stands for (batch, 1).
        logits: Float tensor (batch, m); a positive one predicts its label.

    Returns:
        Float tensor (batch,) in 0..1.
    """
    y = ops.reshape(ops.cast(y, logits.dtype), ops.shape(logits))
    right = ops.equal(logits > 0, y > 0.5)
    return ops.mean(ops.cast(right, logits.dtype), axis=-1)
