"""Losses, divergences and checks of the tasks."""

import keras
import numpy as np
import pytest
from keras import ops
from support.task_references import IGNORED, TASKS

from keras_ffl import InputError, VanillaModel, backend
from keras_ffl.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
    Task,
    binary_accuracy,
    checked_task,
)

pytestmark = pytest.mark.usefixtures("float64")
SAMPLES = 5


def case(name, seed=0):
    task, shape, labels, loss, divergence = TASKS[name]
    rng = np.random.default_rng(seed)
    teacher, student = 2 * rng.normal(size=(2, SAMPLES, *shape))
    return task, labels(rng, SAMPLES), teacher, student, loss, divergence


def slopes(function, at):
    """Central differences of the sum of a function's values."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-5
        found[place] = np.sum(function(at + step) - function(at - step)) / 2e-5
    return found


@pytest.mark.parametrize("name", TASKS)
def test_losses_against_numpy(name):
    task, y, _, z, loss, _ = case(name)
    ours = task.loss(ops.convert_to_tensor(y), ops.convert_to_tensor(z))
    assert ours.dtype == "float64"
    np.testing.assert_allclose(ours, loss(y, z), rtol=1e-12)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergences_against_numpy(name, temperature):
    task, y, t, z, _, divergence = case(name)
    y_tensor = ops.convert_to_tensor(y)
    ours = task.divergence(t, z, temperature, y_tensor)
    expected = divergence(y, t, z, temperature)
    assert (expected > 0).all()
    np.testing.assert_allclose(ours, expected, rtol=1e-11)
    np.testing.assert_allclose(
        task.divergence(z, z, temperature, y_tensor), 0, atol=1e-15
    )


@pytest.mark.parametrize("name", TASKS)
def test_gradients_against_differences(name):
    task, y, t, z, loss, divergence = case(name)
    y_tensor = ops.convert_to_tensor(y)
    for ours, theirs in (
        (
            lambda x: ops.sum(task.loss(y_tensor, x)),
            lambda x: loss(y, x),
        ),
        (
            lambda x: ops.sum(task.divergence(t, x, 3.0, y_tensor)),
            lambda x: divergence(y, t, x, 3.0),
        ),
    ):
        (gradient,) = backend.gradients_of(
            lambda tensors: ours(*tensors), [ops.convert_to_tensor(z)]
        )
        np.testing.assert_allclose(
            gradient, slopes(theirs, z), rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("name", TASKS)
def test_the_teacher_is_a_constant(name):
    task, y, t, z, *_ = case(name)
    y = ops.convert_to_tensor(y)
    (gradient,) = backend.gradients_of(
        lambda teachers: ops.sum(task.divergence(*teachers, z, 3.0, y)),
        [ops.convert_to_tensor(t)],
    )
    assert not np.any(gradient)


def test_extreme_logits_are_finite():
    y = np.array([[0.0, 1.0]])
    z = np.array([[1e4, -1e4]])
    for values in (
        MultiLabel().loss(y, ops.convert_to_tensor(z)),
        MultiLabel().divergence(z, -z, 1.0),
    ):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(MultiLabel().loss(y, ops.array(z)), 2e4)


def test_an_image_without_valid_pixels_counts_as_zero():
    task, shape, *_ = TASKS["segmentation"]
    y = np.full((1, *shape[:2]), IGNORED)
    z = np.random.default_rng(0).normal(size=(1, *shape))
    assert float(task.loss(ops.array(y), ops.array(z))[0]) == 0
    assert float(task.divergence(-z, z, 1.0, ops.array(y))[0]) == 0


def test_forms_of_labels():
    task, y, _, z, loss, _ = case("segmentation")
    np.testing.assert_allclose(
        task.loss(ops.array(y[..., None]), ops.array(z)), loss(y, z)
    )
    numbers = np.array([1.0, 2.0])
    outputs = np.array([[2.0], [4.0]])
    np.testing.assert_allclose(
        Regression().loss(ops.array(numbers), ops.array(outputs)), [1.0, 4.0]
    )


def test_accuracy_of_one_label():
    y, logits = np.array([0, 1, 1]), np.array([[-1.0], [2.0], [-3.0]])
    for labels in (y, y[:, None]):
        found = binary_accuracy(ops.array(labels), ops.array(logits))
        np.testing.assert_array_equal(found, [1, 1, 0])


def test_mean_iou_with_weights():
    random = np.random.default_rng(0)
    x, z = random.normal(size=(2, 5, 4, 6, 3)).astype("float32")
    y = random.integers(0, 4, (5, 4, 6))
    y[y == 3] = 255
    weights = np.array([0.9, 0.0, 2.5, 0.3, 1.0])
    image = keras.Input((4, 6, 3))
    features = keras.layers.Conv2D(3, 1, use_bias=False)(image)
    network = keras.Model(image, {"features": features, "logits": features})
    task = Segmentation(ignore_class=255)
    model = VanillaModel(network, task=task)
    metrics = task.metrics(model.head_shape)
    model.compile(metrics=metrics, weighted_metrics=task.metrics((3,)))
    z = model.predict(x, verbose=0)["vanilla"]
    for size in (1, 5):
        logs = model.evaluate(x, y, size, 0, weights, return_dict=True)
        found = {k: v for k, v in logs.items() if "iou" in k}
        expected = [mean_iou(y, z, each) for each in (np.ones(5), weights)]
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5)


def mean_iou(y, z, weights):
    pixels = np.where(y == 255, 0, weights[:, None, None])
    predicted = z.argmax(axis=-1)
    ratios = [
        (pixels * ((y == k) & (predicted == k))).sum()
        / (pixels * ((y == k) | (predicted == k))).sum()
        for k in range(3)
    ]
    return np.mean(ratios)


def test_masks_as_labels():
    task = Segmentation(ignore_class=255)
    task.check_values(np.array([[[True, False]]]), (None, 1, 2, 2))


def test_predictions():
    z = np.array([[0.0, np.log(3.0)]])
    predicted = Classification().prediction(ops.array(z))
    np.testing.assert_allclose(predicted["probabilities"], [[0.25, 0.75]])
    assert predicted["class_index"].dtype == "int64"
    assert int(predicted["class_index"][0]) == 1
    predicted = MultiLabel().prediction(ops.array(z))
    np.testing.assert_allclose(predicted["probabilities"], [[0.5, 0.75]])
    np.testing.assert_allclose(Regression().prediction(z)["values"], z)
    predicted = Segmentation().prediction(ops.array(z[:, None, None]))
    np.testing.assert_allclose(predicted["probabilities"], [[[[0.25, 0.75]]]])
    assert predicted["class_index"].shape == (1, 1, 1)


# ----- what is refused -------------------------------------------------------


GOOD = {name: case(name)[1] for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_good_labels(name):
    task, shape, *_ = TASKS[name]
    shape = (None, *shape)
    task.check_output("it", shape)
    task.check_values(GOOD[name], shape)
    task.check_values(GOOD[name].tolist(), shape)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("classification", GOOD["multi_label"], "every row must be"),
        ("classification", GOOD["segmentation"], r"integers \(n,\) or rows"),
        ("multi_label", GOOD["classification"], r"must have shape \(n, 3\) .*"),
        (
            "multi_label",
            3 * GOOD["multi_label"],
            r"`y`: labels must be in 0..1, .* go from 0 to 3",
        ),
        ("multi_label", np.zeros((5, 2)), r"shape \(n, 3\) .* got \(5, 2\)"),
        ("multi_label", [["a"]], "must hold numbers, got dtype"),
        ("regression", GOOD["classification"], r"\(n, 2\) for Regression"),
        ("regression", [[np.nan, 0.0]], "labels must be finite"),
        ("regression", [[1.0, 2.0], [3.0]], "rows of different lengths"),
        (
            "segmentation",
            GOOD["classification"],
            r"must have shape \(n, 4, 4\) for Segmentation, got \(5,\)",
        ),
        (
            "segmentation",
            np.full((1, 4, 4), 3),
            r"integers in 0..2 or 255, .* go from 3 to 3",
        ),
        ("segmentation", np.full((1, 4, 4), 0.5), "integers in 0..2 or 255"),
        ("segmentation", np.zeros((1, 4, 5), int), r"got \(1, 4, 5\)"),
    ],
)
def test_labels_of_another_task(name, y, message):
    task, shape, *_ = TASKS[name]
    with pytest.raises(InputError, match=message):
        task.check_values(y, (None, *shape))


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Classification(), (None, 1)),
        (Classification(), (None, 4, 4, 3)),
        (MultiLabel(), (None, 4, 3)),
        (Regression(), (None,)),
        (Segmentation(), (None, 3)),
        (Segmentation(), (None, 4, 4, 1)),
    ],
)
def test_outputs_of_another_task(task, shape):
    with pytest.raises(InputError, match="^it must give"):
        task.check_output("it", shape)


def test_labels_of_unknown_rank():
    class Unknown:
        dtype = "int32"

        @property
        def shape(self):
            raise ValueError("no rank")

    for task, shape, *_ in TASKS.values():
        with pytest.raises(InputError, match="`y` must have a known rank"):
            task.check_kind(Unknown(), (None, *shape))


@pytest.mark.parametrize("value", ["x", 1.5, True])
def test_ignore_class(value):
    with pytest.raises(InputError, match="`ignore_class` must be an int"):
        Segmentation(ignore_class=value)


def test_no_task():
    assert type(checked_task(None)) is Classification
    for value in ("multi_label", MultiLabel):
        with pytest.raises(InputError, match="`task` must be a keras_ffl.task"):
            checked_task(value)


@pytest.mark.parametrize("name", TASKS)
def test_configurations(name):
    task = TASKS[name][0]
    config = keras.saving.serialize_keras_object(task)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(task)
    assert vars(copy) == vars(task)


def test_a_task_says_what_is_missing():
    with pytest.raises(NotImplementedError):
        Task().loss(None, None)
