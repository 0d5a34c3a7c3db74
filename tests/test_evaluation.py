"""Errors of heads against a plain NumPy computation."""

import keras
import numpy as np
import pytest

from keras_ffl import FeatureFusionModel, InputError
from keras_ffl.data import from_arrays
from keras_ffl.evaluation import (
    classification_errors,
    evaluate_heads,
    format_heads,
)
from keras_ffl.methods import KnowledgeDistillationModel, MutualLearningModel
from keras_ffl.models import build, count_parameters


def test_errors_of_known_logits():
    logits = np.array([[3.0, 1, 0, -1, -2, -3, -4]] * 3)
    result = classification_errors([0, 1, 6], logits)
    assert result["top1_error"] == pytest.approx(100 * 2 / 3)
    assert result["top5_error"] == pytest.approx(100 / 3)
    log_sum = np.log(np.exp(logits[0]).sum())
    assert result["loss"] == pytest.approx(log_sum - (3 + 1 - 4) / 3)


def test_errors_against_sorting():
    random = np.random.default_rng(0)
    logits = random.normal(size=(500, 20))
    y = random.integers(0, 20, 500)
    order = np.argsort(-logits, axis=1)
    result = classification_errors(y, logits)
    assert result["top1_error"] == pytest.approx(
        100 * np.mean(order[:, 0] != y)
    )
    assert result["top5_error"] == pytest.approx(
        100 * np.mean((order[:, :5] != y[:, None]).all(axis=1))
    )


def test_ties_and_huge_logits():
    # All alike: argmax takes the first class.
    result = classification_errors([0, 3], np.full((2, 10), 1e30))
    assert result["top1_error"] == 50
    assert result["loss"] == pytest.approx(np.log(10))


def test_logits_that_are_not_finite_are_no_result():
    with pytest.raises(InputError, match="`logits` must be finite"):
        classification_errors([0, 1], [[1.0, 2.0], [float("nan"), 0.0]])


def test_frozen_heads_have_the_size_that_is_deployed(tmp_path):
    networks = [build(name, 4, (8, 8, 1)) for name in ("resnet8", "resnet14")]
    sizes = [count_parameters(network) for network in networks]
    student, source = networks
    model = KnowledgeDistillationModel(
        student, keras.Model(source.input, source.output["logits"])
    )
    model.save(tmp_path / "model.keras")
    peers = [build("resnet8", 4, (8, 8, 1)) for _ in range(2)]
    peers[1].trainable = False
    rows = np.zeros((2, 8, 8, 1), "float32"), np.zeros(2, int)
    for each in (
        model,
        keras.saving.load_model(tmp_path / "model.keras"),
    ):
        results = evaluate_heads(each, *rows)
        found = [results[head]["parameters"] for head in each.heads]
        assert found == sizes
        # What is trained is the student.
        assert count_parameters(each) == sizes[0]
    results = evaluate_heads(MutualLearningModel(peers), *rows)
    found = [results[f"sub_{k}"]["parameters"] for k in (1, 2)]
    assert found == [sizes[0]] * 2


def test_all_heads_of_a_model():
    model = FeatureFusionModel.from_branches(
        "resnet8", num_classes=4, input_shape=(8, 8, 1), rampup_epochs=0
    )
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 8, 8, 1)).astype("float32")
    y = random.integers(0, 4, 30)
    results = evaluate_heads(model, x, y)
    assert list(results) == ["fused", "sub_1", "sub_2", "ensemble"]
    for head, values in results.items():
        logits = model.classifier(head).predict(x, verbose=0)
        error = 100 * np.mean(np.argmax(logits, axis=1) != y)
        assert values["top1_error"] == pytest.approx(error)
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        loss = -np.log(probabilities[np.arange(30), y]).mean()
        assert values["loss"] == pytest.approx(loss, rel=1e-5)
    pixels = random.integers(0, 256, (30, 8, 8, 1), "uint8")
    dataset = from_arrays(pixels, y, pixels, y, num_classes=4)
    with pytest.raises(InputError, match="must be in the order of `y`.*seed 3"):
        evaluate_heads(model, dataset.training_batches(10, 3), y)
    assert results["sub_1"]["parameters"] == results["sub_2"]["parameters"]
    assert results["fused"]["parameters"] > results["ensemble"]["parameters"]
    lines = format_heads(results).splitlines()
    assert len(lines) == 6 and lines[2].startswith("fused")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, -1], "labels must be in 0..2, label -1"),
        ([0, 3], "labels must be in 0..2, label 3"),
        ([0], "`y` must be the labels of 2 images, got 1"),
        ([[0, 1], [1, 0]], "`y` must be integers"),
        ([0.5, 1], "`y` must hold integer labels"),
    ],
)
def test_labels_that_do_not_fit(y, message):
    with pytest.raises(InputError, match=message):
        classification_errors(y, np.eye(3)[:2])


def test_kinds_of_labels():
    logits = np.random.default_rng(0).normal(size=(6, 3))
    y = np.array([0, 2, 1, 1, 0, 2])
    expected = classification_errors(y, logits)
    for labels in (y[:, None], y.astype("float32"), np.eye(3)[y]):
        assert classification_errors(labels, logits) == expected
    with pytest.raises(InputError, match="at least one label"):
        classification_errors(y[:0], logits[:0])
