"""Divergences between a teacher's and a student's logits, as objects.

Methods take one as `distillation=`.
"""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.labels import is_sparse
from keras_ffl.losses.distillation import (
    binary_distillation_kl,
    distillation_kl,
    distillation_term,
    full_precision,
)
from keras_ffl.number_checks import check_number


@keras.saving.register_keras_serializable(package="keras_ffl")
class SoftmaxKL:
    """`T² KL(softmax(t / T) || softmax(z / T))`, the paper's divergence.

    Call arguments:
        teacher: Float tensor (batch, classes), logits t, taken as constants.
        student: Float tensor (batch, classes), logits z.
        temperature: Float > 0, T.
        y: Labels: integers (batch,) or rows (batch, classes), or None; not
            used here.

    Returns of a call:
        Float tensor (batch,), >= 0, at least float32.

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531.
    """

    def __call__(self, teacher, student, temperature, y=None):
        return distillation_term(teacher, student, temperature)

    def get_config(self):
        """The arguments of the constructor by name, a dict."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The object whose `get_config` returned `config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_ffl")
class StandardizedKL(SoftmaxKL):
    """`SoftmaxKL` of standardised logits: networks learn only their relations.

        weight T² KL(softmax(s(t) / T) || softmax(s(z) / T))
        s(z) = (z - mean(z)) / (std(z) + 1e-7)

    with mean and standard deviation over the classes (dividing by their
    number), so that a student need not match the size of its teacher's
    logits. Equal logits (std <= 1e-6), as those of a classifier that begins
    with zeros, have s = 0 and no gradient.

    Args:
        weight: Number >= 0. The source uses 9 at T = 2 for a larger, trained
            teacher.

    Call arguments and their result are those of `SoftmaxKL`.

    Raises:
        InputError: `weight` is not a number >= 0.

    Reference:
        Sun et al., 2024, "Logit Standardization in Knowledge Distillation",
        https://arxiv.org/abs/2403.01427.
    """

    def __init__(self, weight=1.0):
        self.weight = check_number("weight", weight)

    def __call__(self, teacher, student, temperature, y=None):
        teacher, student = map(_standardized, (teacher, student))
        return self.weight * distillation_term(teacher, student, temperature)

    def get_config(self):
        return {"weight": self.weight}


@keras.saving.register_keras_serializable(package="keras_ffl")
class DecoupledKL(SoftmaxKL):
    """The divergence in two parts: of the label's class, and of the others.

        T² (α KL(b(t) || b(z)) + β KL(q(t) || q(z)))

    b is the softened probability of the label's class against that of all
    others, (p_y, 1 - p_y); q the softmax over the other classes. `SoftmaxKL`
    is the case α = 1, β = 1 - p_y(t): it learns the less from the other
    classes the more certain the teacher is. For soft labels, y is the class of
    the largest one.

    Args:
        target_weight: Number >= 0, α.
        other_weight: Number >= 0, β.

    Call arguments and their result are those of `SoftmaxKL`; `y` must be
    given.

    Raises:
        InputError: A weight is not a number >= 0, or `y` is missing.

    Reference:
        Zhao et al., 2022, "Decoupled Knowledge Distillation",
        https://arxiv.org/abs/2203.08679.
    """

    def __init__(self, target_weight=1.0, other_weight=8.0):
        self.target_weight = check_number("target_weight", target_weight)
        self.other_weight = check_number("other_weight", other_weight)

    def __call__(self, teacher, student, temperature, y=None):
        if y is None:
            raise InputError("`y` must be the labels for DecoupledKL, got None")
        teacher, student = map(full_precision, (teacher, student))
        classes = teacher.shape[-1]
        if is_sparse(y, classes):
            y = ops.cast(ops.reshape(y, (-1,)), "int32")
        else:
            y = ops.argmax(y, axis=-1)
        own = ops.one_hot(y, classes, dtype=student.dtype)
        # As logits of two classes: those of the label's against all others.
        target = binary_distillation_kl(
            *(_odds(z, own, temperature) for z in (teacher, student)),
            temperature=1.0,
        )
        # No probability is left for the label's class.
        without = -1e4 * temperature * own
        others = distillation_kl(
            teacher + without, student + without, temperature
        )
        return temperature**2 * (
            self.target_weight * target + self.other_weight * others
        )

    def get_config(self):
        return {
            "target_weight": self.target_weight,
            "other_weight": self.other_weight,
        }


DISTILLATIONS = {
    "softmax": SoftmaxKL,
    "standardized": StandardizedKL,
    "decoupled": DecoupledKL,
}
"""The classes by their names in a configuration."""


def _standardized(logits):
    logits = full_precision(logits)
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    # The gradient for equal logits would be infinite.
    varies = variance > 1e-12
    deviation = ops.sqrt(ops.where(varies, variance, 1.0))
    return ops.where(varies, centred / (deviation + 1e-7), 0.0)


def _odds(logits, own, temperature):
    """The logit (batch, 1) of the class in `own` against all others."""
    logits = logits / temperature
    label = ops.sum(own * logits, axis=-1, keepdims=True)
    others = ops.logsumexp(logits - 1e4 * own, axis=-1, keepdims=True)
    return label - others
