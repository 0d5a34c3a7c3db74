"""SGD against a NumPy reference, and under Keras' own machinery."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ffl import optimizers
from keras_ffl.errors import InputError
from keras_ffl.optimizers import SGD, set_decay_group

# Exact in float32, the dtype of the optimizer's rate; the drop is at step 4.
RATES = [0.125] * 4 + [0.0078125] * 4


@pytest.fixture(params=["fused", "plain"])
def kernel(request, monkeypatch):
    """Runs a test with TensorFlow's operation and without it."""
    assert optimizers.momentum_kernel()
    if request.param == "plain":
        monkeypatch.setattr(optimizers, "momentum_kernel", lambda: None)


def reference(weight, gradients, rates, decay, momentum=0.9, nesterov=True):
    """The recipe's update, weight and buffer after every step."""
    weight, buffer = np.array(weight), np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates):
        gradient = gradient + decay * weight
        buffer = momentum * buffer + gradient
        step = gradient + momentum * buffer if nesterov else buffer
        weight = weight - rate * step
    return weight, buffer


def random_problem(seed=0, steps=len(RATES), shape=(3, 2), variables=2):
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape) for _ in range(variables)]
    gradients = [
        [rng.normal(size=shape) for _ in range(variables)] for _ in range(steps)
    ]
    return start, gradients


def variables_of(values, dtype="float64"):
    return [keras.Variable(value, dtype=dtype) for value in values]


def run(optimizer, variables, gradients, rates=None):
    dtype = variables[0].dtype
    for step, values in enumerate(gradients):
        if rates is not None:
            optimizer.learning_rate = rates[step]
        tensors = [ops.convert_to_tensor(v, dtype) for v in values]
        optimizer.apply(tensors, variables)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.0, 1.0])
def test_steps_across_a_rate_drop(nesterov, momentum, kernel):
    start, gradients = random_problem(variables=3)
    first, second, third = variables = variables_of(start)
    set_decay_group([second], "fusion")
    set_decay_group([third], "a group that the optimizer does not know")
    optimizer = SGD(
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=0.03,
        weight_decay_groups={"fusion": 0.7},
    )
    run(optimizer, variables, gradients, RATES)
    decays = [0.03, 0.7, 0.03]
    for k, decay in enumerate(decays):
        weight, buffer = reference(
            start[k],
            [step[k] for step in gradients],
            RATES,
            decay,
            momentum,
            nesterov,
        )
        np.testing.assert_allclose(variables[k].numpy(), weight, rtol=1e-12)
        np.testing.assert_allclose(
            optimizer.momentums[k].numpy(), buffer, rtol=1e-12
        )
        assert optimizer.decay_of(variables[k]) == decay
    assert int(optimizer.iterations.value) == len(gradients)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 2e-2)],
)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_in_a_compiled_function(dtype, tolerance, jit_compile, kernel):
    tf = pytest.importorskip("tensorflow")
    start, gradients = random_problem(steps=2)
    variables = variables_of(start, dtype)
    values = [ops.convert_to_numpy(ops.cast(v, "float64")) for v in variables]
    optimizer = SGD(0.125, weight_decay=0.25)
    optimizer.build(variables)
    apply = tf.function(optimizer.apply, jit_compile=jit_compile)
    for step in gradients:
        apply([ops.convert_to_tensor(g, dtype) for g in step])
    for k, variable in enumerate(variables):
        weight, _ = reference(
            values[k], [step[k] for step in gradients], [0.125] * 2, 0.25
        )
        np.testing.assert_allclose(
            ops.convert_to_numpy(ops.cast(variable, "float64")),
            weight,
            rtol=tolerance,
            atol=tolerance,
        )


def test_defaults_are_the_recipe():
    start, gradients = random_problem()
    variables = variables_of(start)
    set_decay_group(variables[1:], "fusion")
    optimizer = SGD()
    run(optimizer, variables, gradients)
    rate = float(np.float32(0.1))
    for k, decay in enumerate((1e-4, 1e-5)):
        weight, _ = reference(
            start[k],
            [step[k] for step in gradients],
            [rate] * len(gradients),
            decay,
        )
        np.testing.assert_allclose(variables[k].numpy(), weight, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_drop_of_the_rate_acts_at_once(nesterov, kernel):
    start, gradients = random_problem()
    ours, theirs = variables_of(start), variables_of(start)
    optimizer = SGD(0.1, nesterov=nesterov, weight_decay=0.0)
    keras_sgd = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
    for one, variables in ((optimizer, ours), (keras_sgd, theirs)):
        run(one, variables, gradients[:4])
        one.learning_rate = 0.0
        before = [variable.numpy() for variable in variables]
        run(one, variables, gradients[4:5])
        moved = [
            np.abs(variable.numpy() - old).max()
            for variable, old in zip(variables, before)
        ]
        # Keras' buffer holds steps of the old rate, ours holds gradients.
        assert max(moved) == 0 if one is optimizer else min(moved) > 0.01


@pytest.mark.parametrize(
    ("clipping", "clipped"),
    [
        ({"global_clipnorm": 1.0}, ([3 / 13, 4 / 13], [12 / 13])),
        ({"clipnorm": 1.0}, ([0.6, 0.8], [1.0])),
        ({"clipvalue": 3.5}, ([3.0, 3.5], [3.5])),
    ],
    ids=["global_clipnorm", "clipnorm", "clipvalue"],
)
def test_decay_is_added_after_clipping(clipping, clipped):
    start = [np.array([10.0, -20.0]), np.array([30.0])]
    variables = variables_of(start)
    optimizer = SGD(0.5, weight_decay=0.25, **clipping)
    run(optimizer, variables, [[[3.0, 4.0], [12.0]]])
    for variable, value, gradient in zip(variables, start, clipped):
        total = np.array(gradient) + 0.25 * value
        np.testing.assert_allclose(
            variable.numpy(), value - 0.5 * 1.9 * total, rtol=1e-6
        )


def test_accumulated_gradients_decay_once_an_update(kernel):
    start, gradients = random_problem(steps=6)
    variables = variables_of(start)
    optimizer = SGD(0.125, weight_decay=0.3, gradient_accumulation_steps=3)
    run(optimizer, variables, gradients[:2])
    for variable, value in zip(variables, start):
        np.testing.assert_array_equal(variable.numpy(), value)
    run(optimizer, variables, gradients[2:])
    for k, variable in enumerate(variables):
        means = [
            np.mean([step[k] for step in gradients[i : i + 3]], axis=0)
            for i in (0, 3)
        ]
        weight, _ = reference(start[k], means, [0.125] * 2, 0.3)
        np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-12)


def test_biases_and_batch_normalization_decay_too():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 3, bias_initializer="ones"),
            keras.layers.BatchNormalization(beta_initializer="ones"),
        ]
    )
    names = [variable.name for variable in model.trainable_variables]
    assert names == ["kernel", "bias", "gamma", "beta"]
    before = [v.numpy() for v in model.trainable_variables]
    optimizer = SGD(0.5, momentum=0.0, weight_decay=0.25)
    zeros = [ops.zeros_like(v) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before):
        np.testing.assert_allclose(variable.numpy(), old * 0.875, rtol=1e-6)


def test_variables_without_decay():
    variables = [keras.Variable([2.0], name=n) for n in ("kernel", "bias")]
    optimizer = SGD(0.5, momentum=0.0, weight_decay=0.25)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros(1)] * 2, variables)
    assert [float(v.numpy()[0]) for v in variables] == [1.75, 2.0]
    assert [optimizer.decay_of(v) for v in variables] == [0.25, 0.0]


def test_under_a_loss_scale(kernel):
    start, gradients = random_problem()
    plain = variables_of(start, "float32")
    scaled = variables_of(start, "float32")
    run(SGD(weight_decay=0.3), plain, gradients)
    optimizer = keras.optimizers.LossScaleOptimizer(
        SGD(weight_decay=0.3), initial_scale=1024.0, dynamic_growth_steps=3
    )
    for step in gradients:
        scale = ops.convert_to_numpy(optimizer.scale_loss(ops.ones(())))
        run(optimizer, scaled, [[gradient * scale for gradient in step]])
    assert float(optimizer.dynamic_scale.value) == 4096.0
    for one, other in zip(plain, scaled):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)


def test_a_loss_scale_skips_infinite_gradients():
    variables = variables_of([np.ones(2)], "float32")
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(weight_decay=0.3))
    run(optimizer, variables, [[[np.inf, 1.0]]])
    np.testing.assert_array_equal(variables[0].numpy(), 1.0)


def test_learning_rate_schedule_object():
    start, gradients = random_problem(steps=4)
    schedule = keras.optimizers.schedules.CosineDecay(0.5, decay_steps=4)
    variables = variables_of(start)
    optimizer = SGD(schedule, weight_decay=0.3)
    run(optimizer, variables, gradients)
    rates = [0.25 * (1 + np.cos(np.pi * step / 4)) for step in range(4)]
    for k, variable in enumerate(variables):
        weight, _ = reference(
            start[k], [step[k] for step in gradients], rates, 0.3
        )
        np.testing.assert_allclose(
            variable.numpy(), weight, rtol=1e-6, atol=1e-7
        )
    restored = SGD.from_config(optimizer.get_config())
    restored.build(variables)
    assert float(restored.learning_rate) == 0.5


def test_config_round_trip():
    optimizer = SGD(
        learning_rate=1,
        momentum=0.5,
        nesterov=False,
        weight_decay=0.2,
        weight_decay_groups={"fusion": 0.1, "head": 0},
        global_clipnorm=2.0,
        name="mine",
    )
    restored = keras.optimizers.deserialize(
        keras.optimizers.serialize(optimizer)
    )
    assert isinstance(restored, SGD)
    config = restored.get_config()
    assert config == optimizer.get_config()
    assert config["weight_decay"] == 0.2
    assert config["weight_decay_groups"] == {"fusion": 0.1, "head": 0}
    assert config["momentum"] == 0.5
    assert config["nesterov"] is False
    assert config["learning_rate"] == 1.0
    assert config["global_clipnorm"] == 2.0
    # The parent's decay is decoupled; it must not come on top.
    assert restored.weight_decay is None


def test_no_groups():
    variables = variables_of([np.ones(1)])
    set_decay_group(variables, "fusion")
    optimizer = SGD(weight_decay=0.2, weight_decay_groups={})
    optimizer.build(variables)
    assert optimizer.decay_of(variables[0]) == 0.2


def test_groups_that_no_variable_is_in():
    variables = variables_of([np.ones(1), np.ones(2)])
    set_decay_group(variables[:1], "head")
    SGD(weight_decay_groups={"head": 0.0}).build(variables)
    SGD().build(variables)
    message = r"groups of the variables \('head'\), got 'haed'"
    with pytest.raises(InputError, match=message):
        SGD(weight_decay_groups={"haed": 0.0}).build(variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.5}, r"`momentum` must be in \[0, 1\], got 1\.5"),
        ({"momentum": -0.1}, r"`momentum` must be in \[0, 1\], got -0\.1"),
        (
            {"weight_decay": -1e-4},
            "must be numbers >= 0, got weight_decay=-0.0001",
        ),
        (
            {"weight_decay": float("nan")},
            "must be numbers >= 0, got weight_decay=nan",
        ),
        (
            {"weight_decay_groups": {"fusion": -1.0}},
            "must be numbers >= 0, got fusion=-1.0",
        ),
        ({"weight_decay": None}, "must be numbers >= 0, got weight_decay=None"),
        ({"momentum": "high"}, r"`momentum` must be in \[0, 1\], got 'high'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        SGD(**arguments)


@pytest.mark.torch
@pytest.mark.parametrize("nesterov", [True, False])
def test_agrees_with_torch(nesterov):
    torch = pytest.importorskip("torch")
    start, gradients = random_problem(seed=3)
    variables = variables_of(start)
    set_decay_group(variables[1:], "fusion")
    optimizer = SGD(
        nesterov=nesterov,
        weight_decay=0.03,
        weight_decay_groups={"fusion": 0.5},
    )
    run(optimizer, variables, gradients, RATES)

    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    theirs = torch.optim.SGD(
        [
            {"params": parameters[:1], "weight_decay": 0.03},
            {"params": parameters[1:], "weight_decay": 0.5},
        ],
        lr=RATES[0],
        momentum=0.9,
        nesterov=nesterov,
    )
    for step, rate in zip(gradients, RATES):
        for group in theirs.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(parameters, step):
            parameter.grad = torch.tensor(gradient)
        theirs.step()
    for variable, parameter in zip(variables, parameters):
        np.testing.assert_allclose(
            variable.numpy(), parameter.detach().numpy(), rtol=1e-12
        )
