"""What the loss trains: finite differences, and what gets no gradient."""

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

from keras_ffl import FeatureFusionModel

tf = pytest.importorskip("tensorflow")


def gradients(model, loss):
    """Gradient of `loss(logits)` by path of the trainable variable."""
    x, _ = data(dtype=model.inputs[0].dtype)
    with tf.GradientTape() as tape:
        value = loss(model(x, training=True))
    variables = model.trainable_variables
    values = tape.gradient(
        value,
        [variable.value for variable in variables],
        unconnected_gradients="zero",
    )
    return {v.path: g.numpy() for v, g in zip(variables, values)}


def split(gradient, *parts):
    """Largest gradient of the variables with a part in their path."""
    chosen = {
        path: np.abs(value).max()
        for path, value in gradient.items()
        if any(part in path for part in parts)
    }
    assert chosen, f"no {parts} in {list(gradient)}"
    return chosen


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [branches, separate])
def test_whole_loss_against_finite_differences(make):
    x, y = data(dtype="float64")
    weights = np.linspace(0.2, 2.0, len(y))
    model = compiled(ffl(make(), rampup_epochs=10, temperature=2.0))
    model.epochs_trained.assign(4)
    rampup = float(np.float32(np.exp(-5 * 0.6**2)))

    def logits():
        return {k: z.numpy() for k, z in model(x, training=True).items()}

    teachers = logits()

    def reference():
        terms = loss_terms(np.eye(CLASSES)[y], logits(), 2.0, teachers)
        return sum(
            (rampup if name in ("ekd", "fkd") else 1.0)
            * np.mean(weights * values)
            for name, values in terms.items()
        )

    def loss(outputs):
        return model.compute_loss(
            y=ops.array(y),
            y_pred=outputs,
            sample_weight=ops.array(weights),
            training=True,
        )

    assert float(loss(model(x, training=True))) == pytest.approx(
        reference(), rel=1e-6
    )
    analytic = gradients(model, loss)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = variable.numpy()
        direction = rng.normal(size=value.shape)
        slopes = []
        for sign in (1, -1):
            variable.assign(value + sign * 1e-5 * direction)
            slopes.append(sign * reference() / 2e-5)
        variable.assign(value)
        slope = (analytic[variable.path] * direction).sum()
        assert slope == pytest.approx(sum(slopes), rel=1e-5, abs=1e-8), (
            variable.path
        )


def term(model, name):
    return lambda logits: ops.sum(model.distillation_terms(None, logits)[name])


def test_the_ensemble_teaches_the_fused_classifier_only():
    model = ffl()
    ekd = gradients(model, term(model, "ekd"))
    # The ensemble's logits are constant, so the sub-networks' dense layers
    # learn nothing, but the maps feed the student.
    assert set(split(ekd, "net_1_dense", "net_2_dense").values()) == {0.0}
    rest = {path: z for path, z in ekd.items() if "_dense" not in path}
    assert len(rest) == len(ekd) - 4
    trained = split(rest, "/")
    assert all(value > 1e-7 for value in trained.values()), trained


def test_the_fused_classifier_teaches_the_subnetworks_only():
    model = ffl()
    fkd = gradients(model, term(model, "fkd"))
    untouched = split(fkd, "fusion_module", "fused_")
    assert set(untouched.values()) == {0.0}
    trained = {
        path: np.abs(value).max()
        for path, value in fkd.items()
        if path not in untouched
    }
    assert len(trained) == len(fkd) - 8
    assert all(value > 1e-7 for value in trained.values()), trained


def test_both_hold_for_a_residual_network():
    model = FeatureFusionModel.from_branches(
        "resnet8",
        num_classes=CLASSES,
        rampup_epochs=0,
        input_shape=(4, 4, 2),
    )
    ekd = gradients(model, term(model, "ekd"))
    dense = split(ekd, "branch1_classifier", "branch2_classifier")
    assert set(dense.values()) == {0.0}
    assert split(ekd, "stem_conv")["stem_conv/kernel"] > 1e-6
    fkd = gradients(model, term(model, "fkd"))
    assert set(split(fkd, "fusion_module", "fused_").values()) == {0.0}
    assert split(fkd, "stem_conv")["stem_conv/kernel"] > 1e-6


def test_cross_entropy_of_the_fused_classifier_trains_the_subnetworks():
    model = ffl()
    y = ops.array(data()[1])

    def loss(logits):
        return ops.sum(model.supervised_terms(y, logits)["ce_fused"])

    gradient = gradients(model, loss)
    assert set(split(gradient, "_dense").values()) == {0.0}
    trained = split(gradient, "net_1_bn", "net_2_bn", "trunk_conv/kernel")
    assert all(value > 1e-6 for value in trained.values()), trained
