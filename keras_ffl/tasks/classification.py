"""One of several classes for every image."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.labels import check_kind, check_labels, is_sparse, tolerance
from keras_ffl.losses import cross_entropy, distillation_term
from keras_ffl.tasks.task import Task, class_index, integers_below


@keras.saving.register_keras_serializable(package="keras_ffl")
class Classification(Task):
    """Every image has one of m >= 2 classes: the task of the paper.

        loss(y, z) = CE(y, z)
        divergence(t, z) = T² KL(softmax(t / T) || softmax(z / T))

    Outputs are logits (batch, m). Labels are integers (batch,) or (batch, 1)
    in [0, m), or one-hot or soft rows (batch, m).

    Reference:
        Equations (1), (2), (4) and (5) of Kim et al., 2019,
        https://arxiv.org/abs/1904.09058.
    """

    loss_name = "ce"
    activation = "softmax"
    output_name = "probabilities"
    counts_classes = True

    def loss(self, y, outputs):
        return cross_entropy(y, outputs)

    def divergence(self, teacher, student, temperature, y=None):
        return distillation_term(teacher, student, temperature)

    def prediction(self, outputs):
        index = class_index(outputs)
        return {**super().prediction(outputs), "class_index": index}

    def metrics(self, shape):
        return ["accuracy"]

    def check_output(self, what, shape):
        # The softmax of a single logit is always 1: no loss could change.
        classes = shape[-1]
        if len(shape) != 2 or classes is None or classes < 2:
            advice = (
                ": give two classes two logits, or pass the task "
                "keras_ffl.tasks.MultiLabel(), also to as_subnetwork"
                if classes == 1
                else ""
            )
            raise InputError(
                f"{what} must give one logit for each of at least 2 classes, "
                f"got logits of shape {tuple(shape)}{advice}"
            )

    def check_kind(self, y, shape, argument="y"):
        check_kind(y, shape[-1], argument)

    def check_values(self, y, shape, argument="y"):
        check_labels(y, shape[-1], argument)

    def value_checks(self, y, shape):
        classes = shape[-1]
        if is_sparse(y, classes):
            return [integers_below(classes, y)]
        checks = []
        if y.shape[1] is None:
            width = ops.shape(y)[1]
            expected = f"must be integers (n,) or rows (n, {classes})"
            checks.append(
                (
                    ops.equal(width, classes),
                    f"labels {expected}, the rows of a batch have the width",
                    width,
                )
            )
        sums, low = ops.sum(ops.cast(y, "float32"), axis=1), ops.min(y)
        near = ops.all(ops.abs(sums - 1) < tolerance(y.dtype))
        expected = "every row must be non-negative with sum 1"
        checks.append(
            (
                ops.logical_and(near, low >= 0),
                f"{expected}, those of a batch have sums from",
                ops.min(sums),
                "to",
                ops.max(sums),
                "and values from",
                low,
            )
        )
        return checks
