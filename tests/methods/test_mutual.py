"""Deep mutual learning against training by hand."""

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
    kl,
    largest_difference,
    mean_cross_entropy,
    mean_kl,
    momentums,
    moved,
    separate,
    statistics_kept,
)

from keras_ffl.errors import InputError
from keras_ffl.methods import MutualLearningModel

tf = pytest.importorskip("tensorflow")

STEPS = 3
BATCH = 4


def networks(count):
    """Networks of different sizes, with the same weights at every call."""
    keras.utils.set_random_seed(1)
    return separate(count)


def batches():
    x, y = data(STEPS * BATCH)
    return zip(np.split(x, STEPS), np.split(y, STEPS))


def model_of(count=2, optimizer=None, run_eagerly=True, **options):
    model = MutualLearningModel(networks(count), **options)
    return compiled(
        model,
        optimizer=optimizer or HandSGD().optimizer(),
        run_eagerly=run_eagerly,
        metrics=["accuracy"],
    )


def fit(model, sample_weight=None, epochs=1, batch_size=BATCH):
    return model.fit(
        *data(STEPS * BATCH),
        batch_size=batch_size,
        epochs=epochs,
        sample_weight=sample_weight,
        shuffle=False,
        verbose=0,
    ).history


def prediction(network, x):
    """Logits in training mode, the moving averages left alone."""
    with statistics_kept(network):
        return network(x, training=True)["logits"].numpy()


def hand_step(
    nets,
    sgd,
    x,
    y,
    simultaneous=False,
    temperature=1.0,
    factor=1.0,
    rate=None,
    weights=1.0,
):
    """One step of algorithm 1 of the paper (or of all networks at once)."""
    before = [prediction(network, x) for network in nets]
    for k, network in enumerate(nets):
        latest = (
            before if simultaneous else [prediction(net, x) for net in nets]
        )
        peers = [latest[j] for j in range(len(nets)) if j != k]
        with tf.GradientTape() as tape:
            logits = network(x, training=True)["logits"]
            mutual = [mean_kl(p, logits, temperature, weights) for p in peers]
            loss = mean_cross_entropy(y, logits, weights)
            loss = loss + factor * sum(mutual) / len(peers)
        sgd.step(tape, loss, network.trainable_variables, rate)


@functools.cache
def by_hand(count, **options):
    """The networks after `STEPS` steps by hand, and their optimizer."""
    nets, sgd = networks(count), HandSGD()
    for x, y in batches():
        hand_step(nets, sgd, x, y, **options)
    return nets, sgd


def weights_of(nets):
    return [weight for network in nets for weight in network.weights]


def trainable(nets):
    return [v for network in nets for v in network.trainable_variables]


def assert_equals_hand(model, nets, sgd):
    """Weights, moving averages, momentum, and the count of steps."""
    assert_close(weights_of(model.subnetworks), weights_of(nets))
    assert_close(
        momentums(model, trainable(model.subnetworks)),
        [sgd.buffer(variable) for variable in trainable(nets)],
    )
    assert int(model.optimizer.iterations.numpy()) == STEPS


# ----- loss ---------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_terms_against_numpy(count):
    model = compiled(
        moved(MutualLearningModel(networks(count), temperature=2.0)),
        run_eagerly=True,
    )
    x, y = data()
    logits = {head: z.numpy() for head, z in model(x).items()}
    heads = [f"sub_{k}" for k in range(1, count + 1)]
    assert list(logits) == heads
    expected = {"distillation_weight": 1.0}
    for head in heads:
        rows = np.eye(CLASSES)[y]
        expected[f"ce_{head}"] = cross_entropy(rows, logits[head]).mean()
        expected[f"mutual_{head}"] = np.mean(
            [
                kl(logits[peer], logits[head], 2.0).mean()
                for peer in heads
                if peer != head
            ]
        )
    expected["loss"] = sum(expected.values()) - 1.0
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-4)
    assert expected["mutual_sub_1"] > 1e-3


def test_logs_of_a_step():
    """The metrics are of the predictions before it; the loss is as applied."""
    model = model_of()
    x, y = data(8)
    one, two = (prediction(network, x) for network in model.subnetworks)
    result = model.train_on_batch(x, y, return_dict=True)
    updated = prediction(model.subnetworks[0], x)
    rows = np.eye(CLASSES)[y]
    expected = {
        "ce_sub_1": cross_entropy(rows, one).mean(),
        "ce_sub_2": cross_entropy(rows, two).mean(),
        "mutual_sub_1": kl(two, one, 1.0).mean(),
        "mutual_sub_2": kl(updated, two, 1.0).mean(),
    }
    expected["loss"] = sum(expected.values())
    for head, logits in (
        ("sub_1", one),
        ("sub_2", two),
        ("ensemble", (one + two) / 2),
    ):
        right = logits.argmax(axis=-1) == y
        expected[f"{head}_accuracy"] = right.mean()
    expected["distillation_weight"] = 1.0
    assert result == pytest.approx(expected, rel=1e-4)


def test_logs_of_unequal_batches():
    """Rate 0 leaves the networks as they are; the last batch is half."""
    x, y = data(6)
    model = model_of(optimizer=HandSGD(rate=0.0).optimizer())
    seen = [(0, 4), (4, 6)]
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    totals = dict.fromkeys(("ce_sub_1", "mutual_sub_2", "loss"), 0.0)
    for first, last in seen:
        part = slice(first, last)
        one, two = (
            prediction(network, x[part]) for network in model.subnetworks
        )
        rows = np.eye(CLASSES)[y[part]]
        terms = {
            "ce_sub_1": cross_entropy(rows, one),
            "ce_sub_2": cross_entropy(rows, two),
            "mutual_sub_1": kl(two, one, 1.0),
            "mutual_sub_2": kl(one, two, 1.0),
        }
        terms["loss"] = sum(terms.values())
        for name in totals:
            totals[name] += terms[name].sum() / len(x)
    for name, expected in totals.items():
        assert history[name] == [pytest.approx(expected, rel=1e-4)]


# ----- updates ------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "run_eagerly"), [(2, False), (3, True)], ids=["2", "3"]
)
def test_one_network_after_the_other(count, run_eagerly):
    model = model_of(count, run_eagerly=run_eagerly, temperature=2.0)
    fit(model)
    nets, sgd = by_hand(count, temperature=2.0)
    assert_equals_hand(model, nets, sgd)
    at_once, _ = by_hand(count, temperature=2.0, simultaneous=True)
    ours = weights_of(model.subnetworks)
    assert largest_difference(ours, weights_of(at_once)) > 1e-4


@pytest.mark.parametrize("count", [2, 3])
def test_all_networks_at_once(count):
    model = model_of(count, simultaneous=True, temperature=2.0)
    fit(model)
    hand = by_hand(count, temperature=2.0, simultaneous=True)
    assert_equals_hand(model, *hand)


def test_the_second_network_sees_the_updated_first_one():
    x, y = data(8)
    sgd = HandSGD(rate=1.0)
    model = model_of(optimizer=sgd.optimizer())
    old = prediction(model.subnetworks[0], x)
    model.train_on_batch(x, y)
    updated = prediction(model.subnetworks[0], x)
    results = []
    for peer in (updated, old):
        second = networks(2)[1]
        with tf.GradientTape() as tape:
            logits = second(x, training=True)["logits"]
            loss = mean_cross_entropy(y, logits) + mean_kl(peer, logits, 1.0)
        HandSGD(rate=1.0).step(tape, loss, second.trainable_variables)
        results.append(second.weights)
    ours = model.subnetworks[1].weights
    assert_close(ours, results[0])
    assert largest_difference(ours, results[1]) > 1e-2


@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_batch_enters_the_moving_averages_once(simultaneous):
    model = model_of(3, simultaneous=simultaneous)
    x, y = data(8)
    expected = []
    for k, network in enumerate(model.subnetworks):
        inner = model.get_layer(f"subnetwork_{k + 1}")
        maps = np.asarray(inner.get_layer(f"net_{k}_conv")(x), "float64")
        expected += [
            0.1 * maps.mean(axis=(0, 1, 2)),
            0.9 + 0.1 * maps.var(axis=(0, 1, 2), ddof=0) * 128 / 127,
        ]
    model.train_on_batch(x, y)
    averages = [
        weight
        for network in model.subnetworks
        for weight in network.non_trainable_weights
    ]
    assert_close(averages, expected)


def test_half_precision_counts_a_step_once_too():
    keras.config.set_dtype_policy("mixed_float16")
    model = model_of(3)
    before = [variable.numpy() for variable in model.trainable_variables]
    fit(model)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert int(model.optimizer.iterations.numpy()) == STEPS
    for variable, old in zip(model.trainable_variables, before):
        assert np.abs(variable.numpy() - old).max() > 0, variable.path


def test_a_schedule_counts_steps_not_updates():
    rates = [0.2, 0.05, 0.1]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], rates)
    model = model_of(optimizer=HandSGD().optimizer(schedule))
    fit(model)
    nets, sgd = networks(2), HandSGD()
    for (x, y), rate in zip(batches(), rates, strict=True):
        hand_step(nets, sgd, x, y, rate=rate)
    assert_equals_hand(model, nets, sgd)


def test_rampup():
    model = model_of(rampup_epochs=2)
    history = fit(model, epochs=3, batch_size=STEPS * BATCH)
    factors = [np.exp(-5), np.exp(-1.25), 1.0]
    assert history["distillation_weight"] == pytest.approx(factors, rel=1e-5)
    nets, sgd = networks(2), HandSGD()
    for factor in factors:
        hand_step(nets, sgd, *data(STEPS * BATCH), factor=factor)
    assert_equals_hand(model, nets, sgd)


def test_sample_weights():
    weights = np.linspace(0, 2, STEPS * BATCH).astype("float32")
    model = model_of()
    fit(model, sample_weight=weights)
    nets, sgd = networks(2), HandSGD()
    for (x, y), share in zip(batches(), np.split(weights, STEPS)):
        hand_step(nets, sgd, x, y, weights=share)
    assert_equals_hand(model, nets, sgd)


# ----- options ------------------------------------------------------------


def test_the_options_of_its_own_paper_are_the_default():
    model = MutualLearningModel(networks(2))
    assert (model.temperature, model.rampup_epochs) == (1.0, 0)
    assert (model.simultaneous, model.partial_updates) == (False, True)
    assert not MutualLearningModel(
        networks(2), simultaneous=True
    ).partial_updates


def test_options_are_saved(tmp_path):
    model = MutualLearningModel(
        networks(2), 2.5, rampup_epochs=4, simultaneous=True, name="peers"
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.temperature, loaded.rampup_epochs) == (2.5, 4)
    assert (loaded.simultaneous, loaded.name) == (True, "peers")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "`temperature` must be a number > 0, got 0"),
        ({"rampup_epochs": -1}, "`rampup_epochs` must be a number >= 0, got"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        MutualLearningModel(networks(2), **options)
