"""The loss of feature fusion learning, term by term."""

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import (
    CLASSES,
    branches,
    compiled,
    data,
    ffl,
    loss_terms,
    separate,
)

# One sample of label 0.
GOLDEN_LOGITS = {
    "fused": np.array([[1.0, 1.0, -1.0]]),
    "sub_1": np.array([[2.0, 0.0, -1.0]]),
    "sub_2": np.array([[0.0, 1.0, 0.0]]),
}
GOLDEN_TERMS = {
    "ce_sub_1": 0.1698460,
    "ce_sub_2": 1.5514447,
    "ce_fused": 0.7586237,
    "ekd": 0.0722093,
    "fkd": 0.3928617 + 0.2883506,
}
GOLDEN_LOSS = 3.2333361


def tensors(arrays):
    return {name: ops.convert_to_tensor(z) for name, z in arrays.items()}


def random_logits(samples=6, heads=("fused", "sub_1", "sub_2"), seed=0):
    rng = np.random.default_rng(seed)
    return {head: 2 * rng.normal(size=(samples, CLASSES)) for head in heads}


def logged(model):
    return {
        name: float(value) for name, value in model.get_metrics_result().items()
    }


@pytest.mark.usefixtures("float64")
class TestGoldenValues:
    def test_terms(self):
        model = ffl(temperature=3.0)
        logits = tensors(GOLDEN_LOGITS)
        terms = {
            **model.supervised_terms(ops.array([0]), logits),
            **model.distillation_terms(None, logits),
        }
        assert set(terms) == set(GOLDEN_TERMS)
        for name, golden in GOLDEN_TERMS.items():
            assert terms[name].shape == (1,)
            assert terms[name].dtype == "float64"
            assert float(terms[name][0]) == pytest.approx(golden, abs=1e-6)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("repeats", [1, 4])
    def test_total(self, training, repeats):
        model = compiled(ffl())
        logits = tensors(
            {k: z.repeat(repeats, axis=0) for k, z in GOLDEN_LOGITS.items()}
        )
        y = ops.zeros((repeats,), "int32")
        loss = model.compute_loss(
            y=y, y_pred=logits, sample_weight=None, training=training
        )
        assert float(loss) == pytest.approx(GOLDEN_LOSS, abs=1e-6)
        for name, golden in GOLDEN_TERMS.items():
            assert logged(model)[name] == pytest.approx(golden, abs=1e-6)
        assert logged(model)["distillation_weight"] == 1.0

    def test_rampup_weighs_distillation_in_training_only(self):
        model = compiled(ffl(rampup_epochs=80))
        model.epochs_trained.assign(40)
        losses = [
            float(
                model.compute_loss(
                    y=ops.array([0]),
                    y_pred=tensors(GOLDEN_LOGITS),
                    training=training,
                )
            )
            for training in (True, False)
        ]
        distilled = 0.0722093 + 0.3928617 + 0.2883506
        assert losses == pytest.approx(
            [GOLDEN_LOSS - (1 - 0.2865048) * distilled, GOLDEN_LOSS], abs=1e-6
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("count", [2, 3])
def test_all_terms_against_numpy(count, temperature):
    model = compiled(ffl(branches(count), temperature=temperature))
    heads = ["fused", *(f"sub_{k}" for k in range(1, count + 1))]
    logits = random_logits(heads=heads)
    y = np.arange(6) % CLASSES
    expected = loss_terms(np.eye(CLASSES)[y], logits, temperature)
    loss = model.compute_loss(y=ops.array(y), y_pred=tensors(logits))
    for name, values in expected.items():
        assert logged(model)[name] == pytest.approx(values.mean(), rel=1e-12)
    total = sum(values.mean() for values in expected.values())
    assert float(loss) == pytest.approx(total, rel=1e-12)


@pytest.mark.usefixtures("float64")
def test_kinds_of_labels_agree():
    model = compiled(ffl())
    logits = tensors(random_logits())
    integers = np.arange(6) % CLASSES
    losses = [
        float(model.compute_loss(y=ops.convert_to_tensor(y), y_pred=logits))
        for y in (
            integers,
            integers.astype("uint8"),
            integers[:, None],
            np.eye(CLASSES)[integers],
            np.eye(CLASSES, dtype="int64")[integers],
        )
    ]
    assert losses == pytest.approx([losses[0]] * 5, rel=1e-12)


@pytest.mark.usefixtures("float64")
def test_soft_labels_against_numpy():
    model = compiled(ffl())
    logits = random_logits()
    y = np.random.default_rng(5).dirichlet(np.ones(CLASSES), size=6)
    loss = model.compute_loss(y=ops.array(y), y_pred=tensors(logits))
    expected = sum(v.mean() for v in loss_terms(y, logits).values())
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_sample_weights_weigh_every_term(shape):
    model = compiled(ffl())
    logits = random_logits()
    y = np.arange(6) % CLASSES
    weights = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 0.25])
    loss = model.compute_loss(
        y=ops.array(y),
        y_pred=tensors(logits),
        sample_weight=ops.array(weights.reshape(shape)),
    )
    expected = {
        # As with Keras' losses: divided by the batch size.
        name: (values * weights).sum() / 6
        for name, values in loss_terms(np.eye(CLASSES)[y], logits).items()
    }
    assert float(loss) == pytest.approx(sum(expected.values()), rel=1e-12)
    for name, value in expected.items():
        assert logged(model)[name] == pytest.approx(value, rel=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"use_ekd": False}, {"ekd"}),
        ({"use_fkd": False}, {"fkd"}),
        (
            {"use_ekd": False, "use_fkd": False},
            {"ekd", "fkd", "distillation_weight"},
        ),
    ],
    ids=["no EKD", "no FKD", "neither"],
)
def test_ablations(options, absent):
    model = compiled(ffl(rampup_epochs=5, **options))
    everything = {*GOLDEN_TERMS, "distillation_weight"}
    loss = model.compute_loss(
        y=ops.array([0]), y_pred=tensors(GOLDEN_LOGITS), training=False
    )
    missing = sum(GOLDEN_TERMS.get(name, 0.0) for name in absent)
    assert float(loss) == pytest.approx(GOLDEN_LOSS - missing, abs=1e-6)
    assert set(logged(model)) == {"loss", *(everything - absent)}


@pytest.mark.parametrize("make", [branches, separate])
def test_regularization_is_added(make):
    regularizer = keras.regularizers.L2(0.3)
    model = compiled(ffl(make(regularizer=regularizer)))
    x, y = data()
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    kernels = [
        variable.numpy()
        for variable in model.trainable_variables
        if variable.regularizer is not None
    ]
    assert len(kernels) == 2
    penalty = 0.3 * sum((kernel**2).sum() for kernel in kernels)
    terms = sum(result[name] for name in GOLDEN_TERMS)
    assert result["loss"] == pytest.approx(terms + penalty, rel=1e-5)
    assert penalty > 0.01 * terms


def test_evaluation_is_the_mean_over_unequal_batches():
    model = compiled(ffl())
    x, y = data(7)
    result = model.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0)
    expected = loss_terms(np.eye(CLASSES)[y], logits)
    for name, values in expected.items():
        assert result[name] == pytest.approx(values.mean(), rel=1e-5)
    total = sum(values.mean() for values in expected.values())
    assert result["loss"] == pytest.approx(total, rel=1e-5)
    assert result["distillation_weight"] == 1.0
