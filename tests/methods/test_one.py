"""ONE: gate, teacher, loss and updates against NumPy and by hand."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    IMAGE,
    HandSGD,
    assert_close,
    branches,
    compiled,
    cross_entropy,
    data,
    kl,
    mean_cross_entropy,
    mean_kl,
    moved,
    separate,
    subnetwork,
)

from keras_ffl.errors import InputError
from keras_ffl.layers import Gate
from keras_ffl.methods import OneModel
from keras_ffl.models import build, build_branches
from keras_ffl.models.branching import shared_feature_map

tf = pytest.importorskip("tensorflow")


def one(count=3, rampup_epochs=0, **options):
    return OneModel(branches(count), rampup_epochs, **options)


def numpy_logits(model, x):
    """All heads from the trunk's map, the gate's weights and the branches."""
    trunk = keras.Model(model.input, model.get_layer("trunk_conv").output)
    kernel, bias, gamma, beta, mean, variance = model.gate.get_weights()
    z = trunk(x).numpy().mean(axis=(1, 2)) @ kernel + bias
    z = gamma * (z - mean) / np.sqrt(variance + 1e-5) + beta
    z = np.exp(np.maximum(z, 0))
    gates = z / z.sum(axis=-1, keepdims=True)
    logits = {
        f"sub_{k}": network(x)["logits"].numpy()
        for k, network in enumerate(model.subnetworks, start=1)
    }
    teacher = sum(gates[:, [k]] * sub for k, sub in enumerate(logits.values()))
    return {"teacher": teacher, **logits}


@pytest.mark.parametrize("count", [2, 3])
def test_heads_against_numpy(count):
    model = moved(one(count))
    subs = [f"sub_{k}" for k in range(1, count + 1)]
    assert model.heads == model.trained_heads == ("teacher", *subs)
    assert model.primary_head == "teacher"
    assert (type(model.gate), model.gate.branches) == (Gate, count)
    x, _ = data()
    logits = numpy_logits(model, x)
    outputs = model(x)
    for head, expected in logits.items():
        for ours in (outputs[head], model.classifier(head)(x)):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    # The gate weighs: the teacher is not the mean.
    mean = np.mean([logits[head] for head in subs], axis=0)
    assert np.abs(logits["teacher"] - mean).max() > 1e-2


def test_loss_against_numpy():
    model = compiled(moved(one(temperature=2.0)), run_eagerly=True)
    x, y = data()
    logits = numpy_logits(model, x)
    rows = np.eye(CLASSES)[y]
    expected = {
        f"ce_{head}": cross_entropy(rows, z).mean()
        for head, z in logits.items()
    }
    expected["kd"] = sum(
        kl(logits["teacher"], logits[head], 2.0).mean()
        for head in ("sub_1", "sub_2", "sub_3")
    )
    expected["loss"] = sum(expected.values())
    expected["distillation_weight"] = 1.0
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-4)
    assert expected["kd"] > 1e-3


def gradients(model, x, y, loss_of, variables):
    with tf.GradientTape() as tape:
        loss = loss_of(y, model(x, training=True))
    return tape.gradient(
        loss, [v.value for v in variables], unconnected_gradients="zero"
    )


def test_the_teacher_is_a_constant_in_the_divergences():
    model = moved(one())
    x, y = data()
    gate = model.gate.trainable_variables
    assert len(gate) == 4

    def distillation(y, logits):
        return tf.reduce_mean(model.distillation_terms(None, logits)["kd"])

    for gradient in gradients(model, x, y, distillation, gate):
        np.testing.assert_array_equal(gradient, 0)

    # What moves the gate is the teacher's cross-entropy alone.
    def whole(y, logits):
        return model.compute_loss(x, y, logits)

    def teacher_alone(y, logits):
        return mean_cross_entropy(y, logits["teacher"])

    compiled(model)
    ours = gradients(model, x, y, whole, gate)
    assert_close(ours, gradients(model, x, y, teacher_alone, gate), 1e-6)
    assert np.abs(ours[0]).max() > 1e-4


def test_updates_equal_those_by_hand():
    def model():
        keras.utils.set_random_seed(4)
        return moved(one(rampup_epochs=2, temperature=2.0))

    x, y = data()
    sgd = HandSGD()
    ours = compiled(model(), optimizer=sgd.optimizer(), run_eagerly=True)
    ours.fit(x, y, batch_size=len(x), epochs=3, shuffle=False, verbose=0)
    other = model()
    for factor in (np.exp(-5), np.exp(-1.25), 1.0):
        with tf.GradientTape() as tape:
            logits = other(x, training=True)
            loss = sum(mean_cross_entropy(y, z) for z in logits.values())
            teacher = logits["teacher"].numpy()
            for head in ("sub_1", "sub_2", "sub_3"):
                loss += factor * mean_kl(teacher, logits[head], 2.0)
        sgd.step(tape, loss, other.trainable_variables)
    assert_close(
        [w for w in ours.weights if w.dtype == "float32"],
        [w for w in other.weights if w.dtype == "float32"],
    )


# ----- the trunk ----------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
@pytest.mark.parametrize(
    ("separate_stages", "shape"),
    [(1, (None, 4, 4, 32)), (2, (None, 8, 8, 16)), (3, (None, 8, 8, 16))],
)
def test_the_gate_looks_at_the_end_of_the_trunk(name, separate_stages, shape):
    networks = build_branches(name, 3, 10, (8, 8, 3), separate_stages)
    end = shared_feature_map(networks)
    assert tuple(end.shape) == shape
    trunk = keras.Model(networks[0].input, end)
    own = [{id(weight) for weight in net.weights} for net in networks]
    assert {id(w) for w in trunk.weights} == own[0] & own[1] & own[2]
    # Nothing of the trunk comes after it: the branches' own layers hang on
    # this very tensor.
    shared = {id(layer) for layer in trunk.layers}
    first = [layer for layer in networks[1].layers if id(layer) not in shared]
    assert first[0].input is end
    assert OneModel(networks, 0).gate.input is end


def test_the_trunk_of_hand_made_branches():
    networks = branches(2)
    end = shared_feature_map(networks)
    conv = networks[0].get_layer("trunk_conv")
    assert end is conv.output is networks[1].get_layer("trunk_conv").output


def test_the_trunk_is_kept_in_a_file(tmp_path):
    model = OneModel.from_branches(
        "resnet8", 3, num_classes=4, rampup_epochs=5, input_shape=(8, 8, 3)
    )
    moved(model).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == model.count_params()
    assert loaded.gate.input.shape == (None, 4, 4, 32)
    assert (loaded.rampup_epochs, loaded.temperature) == (5, 3.0)
    x, _ = data(2, image=(8, 8, 3))
    expected = model(x)
    for head, logits in loaded(x).items():
        np.testing.assert_array_equal(logits, expected[head])


# ----- bad input ----------------------------------------------------------


def on_one_image():
    image = keras.Input(IMAGE)
    return [subnetwork(trunk=(image, image), name=f"net_{k}") for k in range(2)]


def mixed():
    return [build(name, 3, (8, 8, 3)) for name in ("resnet8", "wrn_10_1")]


@pytest.mark.parametrize(
    ("networks", "names"),
    [
        (separate, "net_0, net_1"),
        (on_one_image, "net_0, net_1"),
        (mixed, "resnet8, wrn_10_1"),
        (lambda: [*branches(2), subnetwork()], "net_1, net_2, net"),
    ],
    ids=["separate", "image only", "mixed", "one of three"],
)
def test_no_trunk_in_common(networks, names):
    message = (
        "`subnetworks` must be branches on a shared trunk, .* got "
        f"{names} without a common feature map"
    )
    with pytest.raises(InputError, match=message):
        OneModel(networks(), 0)


def test_a_gate_of_other_branches():
    with pytest.raises(InputError, match="`gate` .* each of the 2 .* got 3"):
        OneModel(branches(2), 0, gate=Gate(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "`temperature` must be a number > 0, got"),
        ({"rampup_epochs": None}, "`rampup_epochs` must be a number >= 0"),
        ({"count": 1}, "list of at least 2 models, got 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        one(**options)
