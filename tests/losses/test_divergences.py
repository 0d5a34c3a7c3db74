"""Divergences as objects, against NumPy and in methods."""

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import METHODS, compiled, data, ffl, kl, log_softmax

from keras_ffl import InputError, backend
from keras_ffl.losses import (
    DISTILLATIONS,
    DecoupledKL,
    SoftmaxKL,
    StandardizedKL,
)
from keras_ffl.tasks import MultiLabel

CLASSES = 5
RNG = np.random.default_rng(0)
TEACHER, STUDENT = 3 * RNG.normal(size=(2, 6, CLASSES))
Y = np.arange(6) % CLASSES


def standardized(z):
    spread = np.sqrt(((z - z.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))
    return (z - z.mean(axis=1, keepdims=True)) / (spread[:, None] + 1e-7)


def decoupled(teacher, student, temperature, labels, alpha, beta):
    """By its definition, sample by sample, with probabilities."""
    found = []
    for t, z, y in zip(teacher, student, labels, strict=True):
        p, q = (np.exp(log_softmax(each / temperature)) for each in (t, z))
        b, c = (np.array([each[y], 1 - each[y]]) for each in (p, q))
        p, q = (np.delete(each, y) for each in (p, q))
        p, q = p / p.sum(), q / q.sum()
        target, others = (
            (one * np.log(one / other)).sum() for one, other in ((b, c), (p, q))
        )
        found.append(temperature**2 * (alpha * target + beta * others))
    return np.array(found)


CASES = {
    "softmax": (
        SoftmaxKL(),
        lambda t, z, temperature, y: kl(t, z, temperature),
    ),
    "standardized": (
        StandardizedKL(weight=9),
        lambda t, z, temperature, y: (
            9 * kl(standardized(t), standardized(z), temperature)
        ),
    ),
    "decoupled": (
        DecoupledKL(0.7, 8),
        lambda t, z, temperature, y: decoupled(t, z, temperature, y, 0.7, 8),
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, temperature):
    divergence, expected = CASES[name]
    values = expected(TEACHER, STUDENT, temperature, Y)
    rows = np.eye(CLASSES)[Y]
    for y in (Y, Y[:, None], rows, 0.9 * rows + 0.1 / CLASSES):
        found = divergence(
            ops.array(TEACHER), ops.array(STUDENT), temperature, ops.array(y)
        )
        assert found.dtype == "float64"
        np.testing.assert_allclose(found, values, rtol=1e-10)
    step = 1e-5
    slope, of_teacher = backend.gradients_of(
        lambda z: ops.sum(divergence(z[1], z[0], temperature, ops.array(Y))),
        [ops.array(STUDENT), ops.array(TEACHER)],
    )
    assert not np.any(of_teacher)
    for column in range(CLASSES):
        moved = step * np.eye(CLASSES)[column]
        above, below = (
            expected(TEACHER, STUDENT + sign * moved, temperature, Y)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(
            slope[:, column], (above - below) / (2 * step), rtol=1e-5, atol=1e-8
        )


@pytest.mark.usefixtures("float64")
def test_softmax_is_a_case_of_decoupled():
    p = np.exp(log_softmax(TEACHER[:1] / 3.0))[0, Y[0]]
    found = DecoupledKL(1, float(1 - p))(TEACHER[:1], STUDENT[:1], 3.0, Y[:1])
    np.testing.assert_allclose(found, kl(TEACHER[:1], STUDENT[:1], 3.0))


@pytest.mark.parametrize("name", CASES)
def test_half_precision_and_large_logits(name):
    divergence, _ = CASES[name]
    z = ops.cast([[6e4, -6e4, 0.0], [0.0, 0.0, 1.0]], "float16")
    found = divergence(z, -z, 2.0, ops.array([1, 0]))
    assert found.dtype == "float32"
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_a_student_with_equal_logits(name, level):
    divergence, _ = CASES[name]
    teacher, y = ops.cast(TEACHER, "float32"), ops.array(Y)
    (slope,) = backend.gradients_of(
        lambda z: ops.sum(divergence(teacher, z[0], 4.0, y)),
        [ops.full(STUDENT.shape, level, "float32")],
    )
    assert np.abs(slope).max() < 100


@pytest.mark.parametrize("name", CASES)
def test_configurations(name):
    divergence, _ = CASES[name]
    config = keras.saving.serialize_keras_object(divergence)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(divergence) is DISTILLATIONS[name]
    assert vars(copy) == vars(divergence)


def test_errors():
    for make in (
        lambda: StandardizedKL(-1),
        lambda: DecoupledKL(target_weight="1"),
        lambda: DecoupledKL(other_weight=float("nan")),
    ):
        with pytest.raises(InputError, match="weight` must be a number >= 0"):
            make()
    with pytest.raises(InputError, match="`y` must be the labels"):
        DecoupledKL()(TEACHER, STUDENT, 3.0)
    with pytest.raises(InputError, match="`distillation` must be None or, "):
        ffl(distillation="standardized")
    with pytest.raises(InputError, match="got .*SoftmaxKL.* for MultiLabel"):
        ffl(distillation=SoftmaxKL(), task=MultiLabel())


# ----- in methods -------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_terms_of_ffl(name):
    divergence, expected = CASES[name]
    model = compiled(ffl(distillation=divergence, temperature=2.0))
    x, y = data(5)
    outputs = model(x)
    terms = model.distillation_terms(ops.array(y), outputs)
    fused, one, two = (
        np.float64(outputs[head]) for head in ("fused", "sub_1", "sub_2")
    )
    values = {
        "ekd": expected((one + two) / 2, fused, 2.0, y),
        "fkd": expected(fused, one, 2.0, y) + expected(fused, two, 2.0, y),
    }
    for name, value in values.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["ffl", "one", "dml", "kd"])
def test_files_keep_it(method, tmp_path):
    model = METHODS[method]()
    model.set_distillation(2.0, DecoupledKL(1, 4))
    compiled(model)
    x, y = data(4)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert vars(loaded.distillation) == vars(model.distillation)
    both = [each.train_on_batch(x, y) for each in (model, loaded)]
    assert both[0] == pytest.approx(both[1], rel=1e-5)
