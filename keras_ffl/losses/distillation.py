"""Knowledge distillation between softened predictions."""

import keras
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.number_checks import check_temperature
from keras_ffl.precision import at_least_float32


def full_precision(logits):
    """Converts half-precision logits to float32; others stay unchanged."""
    logits = ops.convert_to_tensor(logits)
    return ops.cast(logits, at_least_float32(logits.dtype))


def _check_classes(teacher, student):
    """Raises unless both are logits of the same two or more classes."""
    classes = [(1, *logits.shape)[-1] for logits in (teacher, student)]
    known = set(classes) - {None}
    if len(known) > 1 or min(known, default=2) < 2:
        raise InputError(
            "`teacher_logits` and `student_logits` must be logits of the same "
            "classes, at least 2, got "
            f"{classes[0]} and {classes[1]}"
        )


def distillation_kl(teacher_logits, student_logits, temperature=3.0):
    """Computes the KL divergence of softened predictions.

    `KL(s(t; T) || s(z; T)) = sum_i s_i(t; T) log(s_i(t; T) / s_i(z; T))` with
    the softened probability `s_i(z; T) = exp(z_i/T) / sum_j exp(z_j/T)`, for
    teacher logits t and student logits z. The teacher is a constant: no
    gradient flows to it. The result doesn't include the factor T².

    It is computed from log-probabilities, so it is finite for finite logits.
    (The public PyTorch code instead adds 1e-7 to the teacher's probabilities,
    which changes T²·KL by about T² · classes · 1e-7.)

    Args:
        teacher_logits: Float tensor (batch, ..., classes).
        student_logits: Float tensor of the same shape.
        temperature: Float > 0, T.

    Returns:
        Float tensor (batch, ...), >= 0, in float32 for half-precision logits,
        otherwise in the dtype of the logits.

    Raises:
        InputError: `temperature` is not a number > 0, or the logits have
            fewer than two classes or different numbers of classes.

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531; equations (1),
        (4) and (5) of Kim et al., 2019, https://arxiv.org/abs/1904.09058.
    """
    temperature = check_temperature(temperature)
    teacher, student = map(full_precision, (teacher_logits, student_logits))
    _check_classes(teacher, student)
    teacher = ops.log_softmax(ops.stop_gradient(teacher) / temperature)
    student = ops.log_softmax(student / temperature)
    return ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


def binary_distillation_kl(teacher_logits, student_logits, temperature=3.0):
    """Computes the KL divergence of softened predictions of several labels.

    Each label is predicted independently, with the softened probability
    `σ(z_j / T)`. The divergence of all labels is the sum of the divergences
    between Bernoulli distributions:

        sum_j p_j log(p_j / q_j) + (1 - p_j) log((1 - p_j) / (1 - q_j)),
        p_j = σ(t_j / T), q_j = σ(z_j / T)

    for teacher logits t and student logits z. The teacher is a constant. The
    result doesn't include the factor T². It is computed from
    log-probabilities, so it is finite for finite logits.

    Args:
        teacher_logits: Float tensor (batch, ..., labels).
        student_logits: Float tensor of the same shape.
        temperature: Float > 0, T.

    Returns:
        Float tensor (batch, ...), >= 0, in the dtype of `distillation_kl`.

    Raises:
        InputError: `temperature` is not a number > 0.
    """
    temperature = check_temperature(temperature)
    teacher, student = map(full_precision, (teacher_logits, student_logits))
    teacher = ops.stop_gradient(teacher) / temperature
    student = student / temperature
    return sum(
        ops.sum(
            ops.sigmoid(sign * teacher)
            * (
                ops.log_sigmoid(sign * teacher)
                - ops.log_sigmoid(sign * student)
            ),
            axis=-1,
        )
        for sign in (1, -1)
    )


def distillation_term(teacher_logits, student_logits, temperature):
    """`temperature² · distillation_kl(teacher_logits, student_logits)`.

    The gradient shrinks with 1/T², so the factor T² makes its size independent
    of the temperature.

    Args:
        teacher_logits, student_logits, temperature: As in `distillation_kl`.

    Returns:
        Float tensor (batch, ...) >= 0, as from `distillation_kl`.

    Raises:
        InputError: As in `distillation_kl`.

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531, section 2.
    """
    return temperature**2 * distillation_kl(
        teacher_logits, student_logits, temperature
    )


@keras.saving.register_keras_serializable(package="keras_ffl")
class DistillationKL(keras.losses.Loss):
    """`distillation_term(teacher, student, temperature)`, reduced.

    Args:
        temperature: Float > 0.
        reduction: As in `keras.losses.Loss`: by default the sum over the
            batch divided by its size.
        name: Name of the loss.
        dtype: Dtype of the computation, by default `keras.config.floatx()`.

    Call arguments:
        y_true: Teacher logits (batch, classes), taken as constants.
        y_pred: Student logits (batch, classes).
        sample_weight: Optional weights (batch,).

    Raises:
        InputError: `temperature` is not a number > 0.

    Example:

    >>> teacher = [[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]]
    >>> student = [[1.0, 0.0, 0.5], [1.0, 1.0, 1.0]]
    >>> float(DistillationKL(temperature=3.0)(teacher, student))
    0.66955...

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531.
    """

    def __init__(
        self,
        temperature=3.0,
        reduction="sum_over_batch_size",
        name="distillation_kl",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = check_temperature(temperature)

    def call(self, y_true, y_pred):
        return distillation_term(y_true, y_pred, self.temperature)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
