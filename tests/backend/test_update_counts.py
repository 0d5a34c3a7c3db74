"""What an optimizer counts: a batch is one update, in every method.

Averages, loss scales and iterations against loops in NumPy, on both backends;
and frozen networks on JAX as on TensorFlow.
"""

import keras
import numpy as np
import pytest
from support import builders, update_counts
from support.processes import run_on_jax

from keras_ffl.errors import InputError

tf = pytest.importorskip("tensorflow")

jax = pytest.mark.jax
M = update_counts.EMA_MOMENTUM


@pytest.fixture(scope="module")
def on_jax(request, tmp_path_factory):
    """Function from a case to what JAX found."""
    folder = tmp_path_factory.mktemp("counts")
    wanted = {
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and item.get_closest_marker("jax")
    }
    run_on_jax("support.update_counts", folder, *wanted, check=True)

    def read(case):
        with np.load(folder / f"{case}.npz") as file:
            return dict(file)

    return read


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            np.testing.assert_allclose(
                found[name], value, rtol=1e-5, atol=1e-5, err_msg=name
            )


# ----- averages -----------------------------------------------------------


def averages_by_hand(method, every):
    """A loop in NumPy around a model without averages."""
    model = update_counts.model_of(method, update_counts.sgd())
    variables = model.trainable_variables
    averages, steps = [np.zeros(v.shape) for v in variables], 0
    for _ in range(update_counts.EPOCHS):
        for x, y in update_counts.batches():
            model.train_on_batch(x, y)
            share = M if steps else 0.0
            averages = [
                share * average + (1 - share) * weight
                for average, weight in zip(
                    averages, update_counts.arrays(variables)
                )
            ]
            steps += 1
            if every and steps % every == 0:
                for variable, average in zip(variables, averages):
                    variable.assign(average)
        model.epochs_trained.assign_add(1)
    return averages


def assert_averages(found, method, every):
    expected = averages_by_hand(method, every)
    found = dict(found)
    assert (
        found.pop("iterations") == update_counts.EPOCHS * update_counts.BATCHES
    )
    assert len(found) == len(expected)
    builders.assert_close(found.values(), expected, 1e-5)


@pytest.mark.parametrize("method", update_counts.METHODS)
def test_averages(method):
    found = update_counts.averages(method, update_counts.EVERY)
    assert_averages(found, method, update_counts.EVERY)


@pytest.mark.parametrize("method", ["dml", "dualnet"])
def test_keras_callback_for_averages(method):
    callback = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    found = update_counts.averages(method, 0, [callback])
    assert_averages(found, method, 0)


@pytest.mark.parametrize("every", [0, 3])
def test_a_dualnet_network_that_is_not_in_turn(every):
    """Weights and momentum stay; averages go on towards the weights.

    Only overwriting by averages changes its weights too.
    """
    model = update_counts.model_of("dualnet", update_counts.sgd(every))
    variables, optimizer = model.trainable_variables, model.optimizer
    still = {id(v) for v in model.subnetworks[1].trainable_variables}
    places = [i for i, v in enumerate(variables) if id(v) in still]

    def state():
        return [
            update_counts.arrays(each[i] for i in places)
            for each in (
                variables,
                optimizer.momentums,
                optimizer._model_variables_moving_average,
            )
        ]

    first, second, third = update_counts.batches()
    model.train_on_batch(*first)
    model.train_on_batch(*second)
    weights, momentums, averages = state()
    assert model.next_turn() == "sub_1"
    model.train_on_batch(*third)
    expected = [M * a + (1 - M) * w for a, w in zip(averages, weights)]
    found = state()
    builders.assert_close(found[2], expected)
    assert builders.largest_difference(found[2], averages) > 1e-4
    assert builders.largest_difference(found[1], momentums) == 0
    if every:
        builders.assert_close(found[0], expected)
    else:
        assert builders.largest_difference(found[0], weights) == 0


# ----- other counts -------------------------------------------------------


@pytest.mark.parametrize("method", ["dml", "dualnet"])
def test_multi_optimizer_where_networks_take_turns(method):
    optimizer = keras.optimizers.MultiOptimizer(
        lambda variable: update_counts.sgd()
    )
    with pytest.raises(InputError, match="not be a MultiOptimizer, which up"):
        builders.METHODS[method]().compile(optimizer)


# ----- loss scale ---------------------------------------------------------


def next_scale(scale, counter, finite):
    """Keras' rule for a batch."""
    if not finite:
        return scale / 2, 0
    if counter == update_counts.GROWTH - 1:
        return scale * 2, 0
    return scale, counter + 1


def scales_by_hand(updates):
    """Scale, its counter and the iterations after each batch.

    Args:
        updates: For each batch which networks were left out, and whether
            any was not.
    """
    state, iterations, found = (update_counts.FIRST_SCALE, 0), 0, []
    for left_out, some_made in updates:
        state = next_scale(*state, not left_out)
        iterations += some_made
        found.append([*state, iterations])
    return found


def assert_finite_scales(found):
    batches = 2 * update_counts.BATCHES
    expected = scales_by_hand([((), True)] * batches)
    np.testing.assert_array_equal(found["counts"], expected)
    assert found["counts"][-1, 0] == update_counts.FIRST_SCALE * 2**3


@pytest.mark.parametrize("method", update_counts.METHODS)
def test_loss_scale(method):
    assert_finite_scales(update_counts.half_precision(method))


def overflow_by_hand(every):
    """DML by hand in which networks are left out."""
    nets, sgd = (
        update_counts.trapped_networks(),
        builders.HandSGD(update_counts.RATE),
    )
    variables = [v for network in nets for v in network.trainable_variables]
    averages, steps, found = [np.zeros(v.shape) for v in variables], 0, {}
    for step, (x, y) in enumerate(update_counts.trapped_batches()):
        made = 0
        for k, network in enumerate(nets):
            with builders.statistics_kept(nets[1 - k]):
                peer = nets[1 - k](x, training=True)["logits"].numpy()
            with tf.GradientTape(persistent=True) as tape:
                logits = network(x, training=True)["logits"]
                loss = builders.mean_cross_entropy(y, logits)
                loss += builders.mean_kl(peer, logits, 1.0)
            own = network.trainable_variables
            gradients = tape.gradient(loss, [v.value for v in own])
            finite = all(np.isfinite(g).all() for g in gradients)
            assert finite == (k not in update_counts.SKIPPED[step])
            if finite:
                made += 1
                sgd.step(tape, loss, own)
        if made:
            share = M if steps else 0.0
            averages = [
                share * average + (1 - share) * variable.numpy()
                for average, variable in zip(averages, variables)
            ]
            steps += 1
            if every and steps % every == 0:
                for variable, average in zip(variables, averages):
                    variable.assign(average)
        for k, network in enumerate(nets):
            weights = [v.numpy() for v in network.trainable_variables]
            for i, value in enumerate(weights):
                found[f"step {step} of {k}: {i}"] = value
    found |= {f"average: {i}": value for i, value in enumerate(averages)}
    return found


def assert_overflow(found, every):
    found = dict(found)
    expected = scales_by_hand(
        [(skipped, len(skipped) < 2) for skipped in update_counts.SKIPPED]
    )
    np.testing.assert_array_equal(found.pop("counts"), expected)
    assert_same(found, overflow_by_hand(every))


@pytest.mark.parametrize("every", [0, 3])
def test_networks_whose_gradients_overflow_are_left_out(every):
    assert_overflow(update_counts.overflow(every), every)


# ----- both on JAX --------------------------------------------------------


QUICK = ("averages_dml", "overflow_3", "frozen_0")


@jax
@pytest.mark.parametrize(
    "case",
    [
        case if case in QUICK else pytest.param(case, marks=pytest.mark.slow)
        for case in update_counts.CASES
    ],
)
def test_on_jax(case, on_jax):
    found, (_, *arguments) = on_jax(case), update_counts.CASES[case]
    if case.startswith("averages"):
        assert_averages(found, *arguments)
    elif case.startswith("scale"):
        assert_finite_scales(found)
    elif case.startswith("overflow"):
        assert_overflow(found, *arguments)
    else:
        assert_same(found, update_counts.run(case))
