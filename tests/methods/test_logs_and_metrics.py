"""What `fit` and `evaluate` log, and the metrics of every head."""

import keras
import numpy as np
import pytest
from support.builders import CLASSES, compiled, data, ffl, loss_terms

HEADS = ["fused", "sub_1", "sub_2", "ensemble"]
TERMS = {"ce_fused", "ce_sub_1", "ce_sub_2", "ekd", "fkd"}
LOGGED = {"loss", "distillation_weight", *TERMS}


def model_with(**kwargs):
    return compiled(ffl(), run_eagerly=True, **kwargs)


def evaluate(model, x, y, **kwargs):
    return model.evaluate(x, y, verbose=0, return_dict=True, **kwargs)


def logits_of(model, x):
    logits = {k: np.asarray(z) for k, z in model(x, training=False).items()}
    return {**logits, "ensemble": (logits["sub_1"] + logits["sub_2"]) / 2}


def accuracy(logits, y):
    return (logits.argmax(axis=-1) == y).mean()


def test_names_and_history():
    model = compiled(metrics=["accuracy"])
    x, y = data()
    history = model.fit(
        x, y, epochs=2, verbose=0, validation_data=(x, y)
    ).history
    names = {*LOGGED, *(f"{head}_accuracy" for head in HEADS)}
    assert set(history) == {*names, *(f"val_{name}" for name in names)}
    assert all(len(values) == 2 for values in history.values())


def test_terms_of_a_training_step_against_numpy():
    model = model_with(metrics=["accuracy"])
    x, y = data()
    logits = {k: z.numpy() for k, z in model(x, training=True).items()}
    result = model.train_on_batch(x, y, return_dict=True)
    expected = loss_terms(np.eye(CLASSES)[y], logits)
    for name, values in expected.items():
        assert result[name] == pytest.approx(values.mean(), rel=1e-5)
    total = sum(values.mean() for values in expected.values())
    assert result["loss"] == pytest.approx(total, rel=1e-5)
    for head, z in logits.items():
        assert result[f"{head}_accuracy"] == pytest.approx(accuracy(z, y))


def test_a_list_is_for_every_head():
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")
    model = model_with(metrics=["accuracy", top2])
    x, y = data(20)
    result = evaluate(model, x, y)
    logits = logits_of(model, x)
    assert set(result) == {
        *LOGGED,
        *(f"{head}_{name}" for head in HEADS for name in ("accuracy", "top2")),
    }
    values = set()
    for head in HEADS:
        z = logits[head]
        values.add(accuracy(z, y))
        assert result[f"{head}_accuracy"] == pytest.approx(accuracy(z, y))
        rank = (z > z[np.arange(20), y][:, None]).sum(axis=-1)
        assert result[f"{head}_top2"] == pytest.approx((rank < 2).mean())
    # Otherwise a state that all heads share would go unseen.
    assert len(values) > 1
    # The user's object is a pattern, no head's own.
    assert float(top2.result()) == 0.0


def test_a_single_metric_needs_no_list():
    result = evaluate(model_with(metrics="accuracy"), *data())
    assert {f"{head}_accuracy" for head in HEADS} <= set(result)


def test_a_dict_names_the_heads():
    model = model_with(
        metrics={
            "sub_2": "accuracy",
            "ensemble": ["accuracy", keras.metrics.SparseCategoricalAccuracy()],
        }
    )
    x, y = data()
    result = evaluate(model, x, y)
    assert set(result) == {
        *LOGGED,
        "sub_2_accuracy",
        "ensemble_accuracy",
        "ensemble_sparse_categorical_accuracy",
    }
    expected = accuracy(logits_of(model, x)["ensemble"], y)
    assert result["ensemble_accuracy"] == pytest.approx(expected)


def test_weighted_metrics():
    model = model_with(metrics=["accuracy"], weighted_metrics=["accuracy"])
    x, y = data()
    weights = np.linspace(0, 1, len(y))
    result = evaluate(model, x, y, sample_weight=weights)
    for head, z in logits_of(model, x).items():
        right = z.argmax(axis=-1) == y
        assert result[f"{head}_accuracy"] == pytest.approx(right.mean())
        assert result[f"{head}_weighted_accuracy"] == pytest.approx(
            (right * weights).sum() / weights.sum()
        )


def test_weighted_metrics_alone():
    model = model_with(weighted_metrics={"fused": ["accuracy"]})
    x, y = data()
    weights = np.linspace(0, 1, len(y))
    result = evaluate(model, x, y, sample_weight=weights)
    right = logits_of(model, x)["fused"].argmax(axis=-1) == y
    assert set(result) == {*LOGGED, "fused_accuracy"}
    assert result["fused_accuracy"] == pytest.approx(
        (right * weights).sum() / weights.sum()
    )


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y[:, None],
        lambda y: np.eye(CLASSES)[y],
        lambda y: 0.7 * np.eye(CLASSES)[y] + 0.1,
    ],
    ids=["column", "one-hot", "soft"],
)
def test_accuracy_by_kind_of_labels(labels):
    model = model_with(metrics=["accuracy"])
    x, y = data()
    result = evaluate(model, x, labels(y))
    for head, z in logits_of(model, x).items():
        assert result[f"{head}_accuracy"] == pytest.approx(accuracy(z, y))


def test_without_metrics():
    assert set(evaluate(model_with(), *data())) == LOGGED


def test_compiling_again_replaces_the_metrics():
    model = model_with(metrics=["accuracy"])
    evaluate(model, *data())
    compiled(model, run_eagerly=True, metrics={"fused": ["accuracy"]})
    result = evaluate(model, *data())
    assert set(result) == {*LOGGED, "fused_accuracy"}


def test_early_stopping_and_best_checkpoint_by_name(tmp_path):
    model = model_with(metrics=["accuracy"])
    path = tmp_path / "best.weights.h5"
    stopping = keras.callbacks.EarlyStopping(
        "val_sub_1_accuracy", mode="max", baseline=2.0, patience=2
    )
    best = keras.callbacks.ModelCheckpoint(
        path,
        monitor="val_ensemble_accuracy",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    x, y = data()
    history = model.fit(
        x,
        y,
        epochs=9,
        verbose=0,
        validation_data=(x, y),
        callbacks=[stopping, best],
    )
    assert len(history.history["loss"]) == 2
    assert path.exists()
