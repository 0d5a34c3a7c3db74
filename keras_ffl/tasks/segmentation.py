"""One of several classes for every pixel."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.labels import known_shape
from keras_ffl.losses import distillation_term
from keras_ffl.number_checks import is_int
from keras_ffl.tasks.task import Task, class_index, fits, integers_below


@keras.saving.register_keras_serializable(package="keras_ffl")
class Segmentation(Task):
    """Every pixel has one of m >= 2 classes.

        loss(y, z) = mean_p CE(y_p, z_p)
        divergence(t, z) = mean_p T² KL(softmax(t_p / T) || softmax(z_p / T))

    over the pixels p of an image whose label isn't `ignore_class`; both are 0
    for an image without such pixels. Outputs are logits (batch, h, w, m),
    labels integers (batch, h, w) or (batch, h, w, 1).

    Args:
        ignore_class: Int, the label of the pixels that don't count, such as
            255 for boundaries between objects; None if all count.

    Raises:
        InputError: `ignore_class` is not an int.
    """

    loss_name = "ce"
    activation = "softmax"
    output_name = "probabilities"

    def __init__(self, ignore_class=None):
        if not (ignore_class is None or is_int(ignore_class)):
            raise InputError(
                f"`ignore_class` must be an int or None, got {ignore_class!r}"
            )
        self.ignore_class = None if ignore_class is None else int(ignore_class)

    def loss(self, y, outputs):
        y, valid = self._labels(y)
        # Those of a network for images of any size are known only here.
        if not fits(y.shape, outputs.shape[:-1]):
            raise InputError(
                f"`y` must have a label for each pixel, {outputs.shape[:-1]}, "
                f"for Segmentation, got {y.shape}"
            )
        entropy = ops.sparse_categorical_crossentropy(
            y, outputs, from_logits=True
        )
        return _mean_over_pixels(entropy, valid)

    def divergence(self, teacher, student, temperature, y=None):
        _, valid = (None, None) if y is None else self._labels(y)
        divergence = distillation_term(teacher, student, temperature)
        return _mean_over_pixels(divergence, valid)

    def prediction(self, outputs):
        index = class_index(outputs)
        return {**super().prediction(outputs), "class_index": index}

    def metrics(self, shape):
        return [
            WeightedMeanIoU(
                shape[-1],
                # Weights become numbers of this type.
                dtype="float32",
                ignore_class=self.ignore_class,
                sparse_y_pred=False,
                name="mean_iou",
            )
        ]

    def check_output(self, what, shape):
        if len(shape) != 4 or (shape[-1] or 0) < 2:
            raise InputError(
                f"{what} must give one logit for each pixel and each of at "
                "least 2 classes, (batch, height, width, classes), got logits "
                f"of shape {tuple(shape)}"
            )

    def label_shape(self, shape):
        return shape[:-1]

    def check_kind(self, y, shape, argument="y"):
        given = known_shape(y)
        if given is not None and len(given) == 4 and given[-1] == 1:
            y = keras.KerasTensor(given[:-1], y.dtype)
        super().check_kind(y, shape, argument)

    def value_checks(self, y, shape):
        return [integers_below(shape[-1], y, self.ignore_class)]

    def get_config(self):
        return {"ignore_class": self.ignore_class}

    def _labels(self, y):
        """The labels (batch, h, w), and which count (None for all)."""
        if len(y.shape) == 4:
            y = ops.squeeze(y, axis=-1)
        y = ops.cast(y, "int32")
        if self.ignore_class is None:
            return y, None
        valid = ops.not_equal(y, self.ignore_class)
        return ops.where(valid, y, 0), valid


@keras.saving.register_keras_serializable(package="keras_ffl")
class WeightedMeanIoU(keras.metrics.MeanIoU):
    """`keras.metrics.MeanIoU` whose weights are those of images, (batch,)."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            sample_weight = ops.broadcast_to(
                ops.reshape(sample_weight, (-1, 1, 1)), ops.shape(y_pred)[:-1]
            )
        return super().update_state(y_true, y_pred, sample_weight)


def _mean_over_pixels(values, valid):
    """The mean (batch,) of values (batch, h, w) over the valid pixels."""
    if valid is None:
        return ops.mean(values, axis=(1, 2))
    valid = ops.cast(valid, values.dtype)
    count = ops.maximum(ops.sum(valid, axis=(1, 2)), 1)
    return ops.sum(values * valid, axis=(1, 2)) / count
