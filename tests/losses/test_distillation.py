"""Knowledge distillation against hand computation and golden values."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.losses import DistillationKL, distillation_kl

TEACHER = np.array([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
STUDENT = np.array([[1.0, 0.0, 0.5], [1.0, 1.0, 1.0]])
FUSED = np.array([[1.0, 1.0, -1.0]])
FIRST = np.array([[2.0, 0.0, -1.0]])
SECOND = np.array([[0.0, 1.0, 0.0]])


def softened(logits, temperature):
    exponentials = np.exp(np.asarray(logits) / temperature)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def reference_kl(teacher, student, temperature=3.0):
    """Equation by equation, without any care for large logits."""
    p = softened(teacher, temperature)
    q = softened(student, temperature)
    return np.sum(p * np.log(p / q), axis=-1)


def gradients(teacher, student, temperature=3.0):
    tf = pytest.importorskip("tensorflow")
    teacher, student = tf.constant(teacher), tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        loss = ops.sum(distillation_kl(teacher, student, temperature))
    return tape.gradient(loss, [teacher, student])


@pytest.mark.parametrize(
    ("teacher", "student", "golden"),
    [
        (TEACHER, STUDENT, 0.6695536),
        (STUDENT, TEACHER, 0.7084379),
        ((FIRST + SECOND) / 2, FUSED, 0.0722093),
        (FUSED, FIRST, 0.3928617),
        (FUSED, SECOND, 0.2883506),
    ],
    ids=["teacher-student", "swapped", "ekd", "fkd-1", "fkd-2"],
)
def test_golden_values(teacher, student, golden):
    loss = DistillationKL(temperature=3.0, dtype="float64")(teacher, student)
    assert keras.backend.standardize_dtype(loss.dtype) == "float64"
    assert float(loss) == pytest.approx(golden, abs=1e-6)
    per_sample = ops.convert_to_numpy(distillation_kl(teacher, student))
    assert 9 * per_sample.mean() == pytest.approx(golden, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1, 3.0, 20.0])
def test_per_sample_values_follow_the_formula(temperature):
    values = distillation_kl(TEACHER, STUDENT, temperature)
    assert values.shape == (2,)
    np.testing.assert_allclose(
        ops.convert_to_numpy(values),
        reference_kl(TEACHER, STUDENT, temperature),
        rtol=1e-13,
    )


def test_default_temperature_is_three():
    np.testing.assert_allclose(
        ops.convert_to_numpy(distillation_kl(TEACHER, STUDENT)),
        reference_kl(TEACHER, STUDENT, 3.0),
        rtol=1e-13,
    )


def test_equal_predictions_do_not_diverge():
    # A constant added to all logits of a sample changes no prediction.
    values = distillation_kl(TEACHER, TEACHER + [[5.0], [-2.0]])
    np.testing.assert_allclose(ops.convert_to_numpy(values), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("reduction", "sample_weight", "expected"),
    [
        ("sum_over_batch_size", None, lambda kl: kl.mean()),
        ("sum", None, lambda kl: kl.sum()),
        (None, None, lambda kl: kl),
        ("sum_over_batch_size", [2.0, 0.5], lambda kl: kl @ [2, 0.5] / 2),
        ("sum", [2.0, 0.5], lambda kl: kl @ [2, 0.5]),
        (None, [2.0, 0.5], lambda kl: kl * [2, 0.5]),
        ("mean_with_sample_weight", [2, 0.5], lambda kl: kl @ [2, 0.5] / 2.5),
    ],
)
def test_reductions(reduction, sample_weight, expected):
    loss = DistillationKL(2.0, reduction=reduction, dtype="float64")
    weights = None if sample_weight is None else np.array(sample_weight)
    value = loss(TEACHER, STUDENT, sample_weight=weights)
    np.testing.assert_allclose(
        ops.convert_to_numpy(value),
        expected(4 * reference_kl(TEACHER, STUDENT, 2.0)),
        rtol=1e-12,
    )


def test_the_teacher_gets_no_gradient():
    teacher, student = gradients(TEACHER, STUDENT)
    assert teacher is None
    # d KL / d z = (s(z) - s(t)) / T
    np.testing.assert_allclose(
        ops.convert_to_numpy(student),
        (softened(STUDENT, 3.0) - softened(TEACHER, 3.0)) / 3.0,
        rtol=1e-12,
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_extreme_logits_stay_finite(temperature):
    teacher = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], "float32")
    student = np.array([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4]], "float32")
    values = ops.convert_to_numpy(
        distillation_kl(teacher, student, temperature)
    )
    np.testing.assert_allclose(values, [2e4 / temperature, 0], rtol=1e-6)
    _, gradient = gradients(teacher, student, temperature)
    np.testing.assert_allclose(
        ops.convert_to_numpy(gradient),
        np.array([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]) / temperature,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    # All these logits are exact in half precision, so that only the
    # computation can differ.
    teacher, student = ops.cast(TEACHER, dtype), ops.cast(STUDENT, dtype)
    values = distillation_kl(teacher, student)
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    np.testing.assert_allclose(
        ops.convert_to_numpy(values),
        reference_kl(TEACHER, STUDENT),
        rtol=1e-5,
    )
    loss = DistillationKL()(teacher, student)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == pytest.approx(0.6695536, abs=1e-6)


def test_float32_and_float64_keep_their_dtype():
    for dtype in ("float32", "float64"):
        values = distillation_kl(TEACHER.astype(dtype), STUDENT.astype(dtype))
        assert keras.backend.standardize_dtype(values.dtype) == dtype


def test_serialization():
    loss = DistillationKL(temperature=4, reduction="sum", name="kd")
    config = keras.losses.serialize(loss)
    restored = keras.losses.deserialize(config)
    assert isinstance(restored, DistillationKL)
    assert config["registered_name"] == "keras_ffl>DistillationKL"
    assert restored.get_config() == loss.get_config()
    assert restored.get_config() == {
        "temperature": 4.0,
        "reduction": "sum",
        "name": "kd",
    }
    assert float(restored(TEACHER, STUDENT)) == float(loss(TEACHER, STUDENT))


@pytest.mark.parametrize(
    "temperature",
    [0, -1.0, float("inf"), float("nan"), "3", None, True, [3.0]],
    ids=repr,
)
def test_bad_temperature(temperature):
    message = r"`temperature` must be a number > 0, got "
    with pytest.raises(InputError, match=message):
        distillation_kl(TEACHER, STUDENT, temperature)
    with pytest.raises(InputError, match=message):
        DistillationKL(temperature)


@pytest.mark.parametrize(
    ("teacher", "student", "classes"),
    [
        (TEACHER[:, :1], STUDENT[:, :1], "1 and 1"),
        (TEACHER, STUDENT[:, :1], "3 and 1"),
        (TEACHER[:, :1], STUDENT, "1 and 3"),
        (TEACHER, STUDENT[:, :2], "3 and 2"),
        (TEACHER[0, 0], STUDENT, "1 and 3"),
    ],
)
def test_classes_that_are_too_few_or_differ(teacher, student, classes):
    message = (
        "`teacher_logits` and `student_logits` must be logits of the same "
        f"classes, at least 2, got {classes}$"
    )
    for divergence in (distillation_kl, DistillationKL()):
        with pytest.raises(InputError, match=message):
            divergence(teacher, student)
