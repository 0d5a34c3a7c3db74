"""DualNet: its heads, its turns and its updates against training by hand."""

import functools

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    HandSGD,
    assert_close,
    compiled,
    cross_entropy,
    data,
    largest_difference,
    mean_cross_entropy,
    momentums,
    moved,
    pair,
    separate,
    statistics_kept,
    subnetwork,
)

from keras_ffl.errors import InputError
from keras_ffl.methods import DualNetModel

tf = pytest.importorskip("tensorflow")

BATCH = 4
BATCHES = 3  # An odd number, so that the turns go on across epochs.


def model_of(iterative_epochs=2, run_eagerly=True, **options):
    """A model with the same weights at every call."""
    keras.utils.set_random_seed(2)
    model = DualNetModel(pair(), iterative_epochs, **options)
    optimizer = HandSGD().optimizer()
    return compiled(model, optimizer=optimizer, run_eagerly=run_eagerly)


def fit(model, epochs, initial_epoch=0, **options):
    return model.fit(
        *data(BATCH * BATCHES),
        batch_size=BATCH,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        **options,
    ).history


def groups(model):
    """The variables that move together."""
    found = {"fused": model.get_layer("fused_classifier").trainable_variables}
    for k, network in enumerate(model.subnetworks, start=1):
        dense = model.classifier(f"sub_{k}").trainable_variables[-2:]
        found[f"dense_{k}"] = dense
        found[f"extractor_{k}"] = network.trainable_variables[:-2]
        found[f"statistics_{k}"] = network.non_trainable_variables
        assert {v.shape[-1] for v in dense} == {CLASSES}
    return found


def state(model):
    """Bytes of the values and of the momentum of every group."""
    values = {}
    for name, variables in groups(model).items():
        values[name] = [v.numpy().tobytes() for v in variables]
        if not name.startswith("statistics"):
            buffers = momentums(model, variables)
            values[f"momentum of {name}"] = [b.tobytes() for b in buffers]
    return values


def moved_between(before, after):
    """Names of the groups that moved; one moves as a whole or not at all."""
    names = set()
    for name, values in before.items():
        differ = [a != b for a, b in zip(values, after[name], strict=True)]
        assert all(differ) or not any(differ), name
        if all(differ):
            names.add(name)
    return names


# ----- heads and loss -----------------------------------------------------


def numpy_logits(model, x, factor):
    """All heads from the networks' feature maps and dense weights."""
    maps, logits = [], {}
    for k, network in enumerate(model.subnetworks, start=1):
        outputs = network(x)
        maps.append(outputs["features"].numpy())
        logits[f"sub_{k}"] = outputs["logits"].numpy()
    kernel, bias = model.get_layer("fused_classifier").get_weights()
    pooled = (maps[0] + maps[1]).mean(axis=(1, 2))
    logits["fused"] = pooled @ kernel + bias
    logits["average"] = logits["fused"] + factor * (
        logits["sub_1"] + logits["sub_2"]
    )
    return logits


def test_heads_against_numpy():
    factor = 0.5
    model = moved(DualNetModel(pair(), 1, classifier_weight=factor))
    assert model.heads == ("fused", "sub_1", "sub_2", "average")
    assert model.primary_head == "average"
    x, _ = data()
    expected = numpy_logits(model, x, factor)
    outputs = model(x)
    assert set(outputs) == {"fused", "sub_1", "sub_2"}
    for head, logits in expected.items():
        ours = model.classifier(head)(x)
        np.testing.assert_allclose(ours, logits, rtol=1e-5, atol=1e-5)
        if head != "average":
            np.testing.assert_allclose(outputs[head], ours, rtol=1e-5)


def test_feature_extractor_of_the_sum():
    model = moved(DualNetModel(pair(), 1))
    x, _ = data()
    one, two = (net(x)["features"] for net in model.subnetworks)
    np.testing.assert_allclose(
        model.feature_extractor("fused")(x), one + two, rtol=1e-6
    )


def test_loss_against_numpy():
    factor = 0.5
    model = moved(model_of(classifier_weight=factor))
    x, y = data()
    logits = numpy_logits(model, x, factor)
    terms = {
        f"ce_{head}": cross_entropy(np.eye(CLASSES)[y], logits[head]).mean()
        for head in ("fused", "sub_1", "sub_2")
    }
    subs = terms["ce_sub_1"] + terms["ce_sub_2"]
    expected = {"loss": terms["ce_fused"] + factor * subs, **terms}
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-5)


def test_the_paper_s_weight_is_the_default():
    assert DualNetModel(pair(), 1).classifier_weight == 0.3


# ----- turns --------------------------------------------------------------


NETWORK_1 = {
    "extractor_1",
    "momentum of extractor_1",
    "statistics_1",
    "dense_1",
    "momentum of dense_1",
}
NETWORK_2 = {name.replace("1", "2") for name in NETWORK_1}
FUSED = {"fused", "momentum of fused"}
CLASSIFIERS = {name for name in NETWORK_1 | NETWORK_2 if "dense" in name}


@pytest.mark.parametrize(
    ("turn", "joint_extractors", "expected"),
    [
        ("sub_1", False, NETWORK_1 | FUSED),
        ("sub_2", False, NETWORK_2 | FUSED),
        ("joint", False, CLASSIFIERS | FUSED),
        ("joint", True, NETWORK_1 | NETWORK_2 | FUSED),
    ],
    ids=["sub_1", "sub_2", "joint", "joint with extractors"],
)
def test_what_moves_in_a_turn(turn, joint_extractors, expected):
    model = model_of(joint_extractors=joint_extractors)
    x, y = data()
    # Everything has momentum and decays: what is left alone has to be.
    for _ in range(3 if turn == "sub_2" else 2):
        model.train_on_batch(x, y)
    if turn == "joint":
        model.epochs_trained.assign(2)
    assert model.next_turn() == turn
    before = state(model)
    model.train_on_batch(x, y)
    assert moved_between(before, state(model)) == expected


class Turns(keras.callbacks.Callback):
    """Which networks' classifiers every step moved."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def kernels(self):
        return [
            self.model.classifier(head).get_weights()[-2]
            for head in ("sub_1", "sub_2", "fused")
        ]

    def on_train_batch_begin(self, batch, logs=None):
        self.before = self.kernels()

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(
            "".join(
                name
                for name, old, new in zip("12f", self.before, self.kernels())
                if (old != new).any()
            )
        )


@functools.cache
def by_hand(joint_extractors, epochs=3, iterative_epochs=2, factor=0.3):
    """Weights after a run by hand, those of the fused classifier last."""
    fused = model_of().get_layer("fused_classifier")
    kernel, bias = (keras.Variable(w.numpy()) for w in fused.weights)
    keras.utils.set_random_seed(2)
    nets, sgd = pair(), HandSGD()
    x, y = data(BATCH * BATCHES)
    for step in range(epochs * BATCHES):
        part = slice(step % BATCHES * BATCH, step % BATCHES * BATCH + BATCH)
        joint = step // BATCHES >= iterative_epochs
        everything = joint and joint_extractors
        outputs = []
        with tf.GradientTape() as tape:
            for k, network in enumerate(nets):
                if everything or (not joint and k == step % 2):
                    outputs.append(network(x[part], training=True))
                else:
                    with statistics_kept(network):
                        outputs.append(network(x[part], training=not joint))
            summed = outputs[0]["features"] + outputs[1]["features"]
            pooled = keras.ops.mean(summed, axis=(1, 2))
            logits = keras.ops.matmul(pooled, kernel) + bias
            loss = mean_cross_entropy(y[part], logits)
            for each in outputs:
                loss += factor * mean_cross_entropy(y[part], each["logits"])
        if everything:
            moving = [v for net in nets for v in net.trainable_variables]
        elif joint:
            moving = [v for net in nets for v in net.trainable_variables[-2:]]
        else:
            moving = nets[step % 2].trainable_variables
        sgd.step(tape, loss, [*moving, kernel, bias])
    return [*(w for net in nets for w in net.weights), kernel, bias]


def weights_of(model):
    return [
        *(w for net in model.subnetworks for w in net.weights),
        *model.get_layer("fused_classifier").weights,
    ]


@pytest.mark.parametrize("joint_extractors", [False, True])
def test_a_run_equals_the_one_by_hand(joint_extractors):
    # One of the two in graphs of their own for every turn.
    model = model_of(
        run_eagerly=joint_extractors, joint_extractors=joint_extractors
    )
    turns = Turns()
    # The number of batches of an epoch is odd: the turns go on.
    fit(model, 3, callbacks=[turns])
    assert turns.seen == ["1f", "2f", "1f", "2f", "1f", "2f", *["12f"] * 3]
    assert int(model.optimizer.iterations.numpy()) == 3 * BATCHES
    expected = by_hand(joint_extractors)
    assert_close(weights_of(model), expected)
    other = by_hand(not joint_extractors)
    assert largest_difference(weights_of(model), other) > 1e-4


def test_no_iterative_training():
    model = model_of(iterative_epochs=0)
    turns = Turns()
    fit(model, 1, callbacks=[turns])
    assert turns.seen == ["12f"] * 3


def test_half_precision_takes_turns_too():
    keras.config.set_dtype_policy("mixed_float16")
    model = model_of()
    turns = Turns()
    fit(model, 1, callbacks=[turns])
    assert turns.seen == ["1f", "2f", "1f"]


def test_a_loop_by_hand_takes_turns_after_fit():
    model = model_of()
    fit(model, 1)
    before = model.next_turn()
    model.train_step(tuple(map(tf.constant, data())))
    assert model.turn == model.next_turn() != before


def test_a_loaded_model_goes_on_with_the_next_turn(tmp_path):
    first = model_of()
    fit(first, 1)
    assert first.next_turn() == "sub_2"
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    assert second.next_turn() == "sub_2"
    turns = Turns()
    fit(second, 3, initial_epoch=1, callbacks=[turns])
    assert turns.seen == ["2f", "1f", "2f", *["12f"] * 3]
    assert_close(weights_of(second), by_hand(False))
    assert second.next_turn() == "joint"


def test_options_are_saved(tmp_path):
    model = DualNetModel(pair(), 7, 0.4, joint_extractors=True, name="duo")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.iterative_epochs, loaded.classifier_weight) == (7, 0.4)
    assert (loaded.joint_extractors, loaded.name) == (True, "duo")


# ----- bad input ----------------------------------------------------------


@pytest.mark.parametrize("steps", [2, "auto"])
def test_several_steps_in_one_execution(steps):
    message = f"`steps_per_execution` must be 1 .* got {steps!r}"
    with pytest.raises(InputError, match=message):
        DualNetModel(pair(), 1).compile(steps_per_execution=steps)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (lambda: pair()[:1], "list of at least 2 models, got 1"),
        (
            lambda: [*pair(), subnetwork(name="third")],
            "`subnetworks` of DualNetModel must be two models, got 3",
        ),
        (
            separate,
            "must be of one architecture, got net_0 and net_1, whose",
        ),
        (
            lambda: [subnetwork(), subnetwork(strides=2, name="small")],
            "must be of one architecture, got net and small, whose",
        ),
    ],
    ids=["one", "three", "weights", "feature maps"],
)
def test_no_pair(networks, message):
    with pytest.raises(InputError, match=message):
        DualNetModel(networks(), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((-1,), "`iterative_epochs` must be an int >= 0, got -1"),
        ((1.5,), "`iterative_epochs` must be an int >= 0, got 1.5"),
        ((True,), "`iterative_epochs` must be an int >= 0, got True"),
        ((1, -0.1), "`classifier_weight` must be a number >= 0, got -0.1"),
        ((1, "0.3"), "`classifier_weight` must be a number >= 0, got '0.3'"),
        (
            (1, float("nan")),
            "`classifier_weight` must be a number >= 0, got nan",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        DualNetModel(pair(), *options)
