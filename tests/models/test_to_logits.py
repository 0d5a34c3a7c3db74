"""Whether a classifier gives logits or probabilities, and what is made of it.

What the copy must give is known: its softmax is that of the logits which the
classifier was built on.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ffl import InputError, VanillaModel, as_subnetwork
from keras_ffl.methods import EnsembleModel
from keras_ffl.tasks import MultiLabel, Regression

SHAPE = (4, 4, 2)
layers = keras.layers


def images(count=3):
    return np.random.default_rng(0).normal(size=(count, *SHAPE))


def network(end, name="mine"):
    """The network whose feature map `end` makes its output of."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, name="map")(image)
    model = keras.Model(image, end(x), name=name)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + rng.uniform(0.1, 0.9, weight.shape))
    return model


def scores(x, activation=None):
    """New logits, or what an activation makes of them."""
    pooled = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(3, activation=activation)(pooled)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def assert_softmax_is(copy, probabilities, run):
    np.testing.assert_allclose(
        softmax(run(copy, images())["logits"]), probabilities, rtol=1e-5
    )


def head(x):
    """A nested model of a softmax."""
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, scores(inputs, "softmax"), name="head")


class Hidden(layers.Layer):
    """A softmax that the graph doesn't show."""

    def call(self, inputs):
        return ops.softmax(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


def two_heads(x):
    return [scores(x, "softmax"), scores(x, "softmax")]


# Ends that are told to be probabilities; the softmax goes.
ONE_SOFTMAX = {
    "operation": lambda x: ops.softmax(scores(x)),
    "axis": lambda x: ops.softmax(scores(x), axis=1),
    "activation function": lambda x: keras.activations.softmax(scores(x)),
    "activation of an operation": lambda x: layers.Activation(ops.softmax)(
        scores(x)
    ),
    "nested": lambda x: head(x)(x),
    "layer as activation": lambda x: scores(x, layers.Softmax()),
    "behind a cast": lambda x: ops.cast(scores(x, "softmax"), "float32"),
    "map": lambda x: ops.reshape(
        layers.Softmax()(layers.Conv2D(3, 2)(x)), (-1, 3)
    ),
}
# Probabilities as well, but not of one softmax.
SEVERAL = {
    "average": lambda x: layers.Average()(two_heads(x)),
    "mean": lambda x: ops.mean(ops.stack(two_heads(x)), axis=0),
    "sum": lambda x: sum(two_heads(x)) / 2,
    "weighted": lambda x: 0.25 * two_heads(x)[0] + 0.75 * two_heads(x)[1],
    "called twice": lambda x: layers.Average()(
        (lambda model: [model(x), model(2 * x)])(head(x))
    ),
    "also used elsewhere": lambda x: (
        lambda p: layers.Reshape((3,))(p) * 0.5 + p * 0.5
    )(scores(x, "softmax")),
}
LOGITS = {
    "dense": scores,
    "log softmax": lambda x: ops.log_softmax(scores(x)),
    "log softmax activation": lambda x: scores(x, "log_softmax"),
    "logarithm": lambda x: ops.log(scores(x, "softmax")),
    "average": lambda x: layers.Average()([scores(x), scores(x)]),
    "sum": lambda x: sum([scores(x), scores(x)]) / 2,
    "temperature": lambda x: scores(x) / 3.0,
    "pooled": lambda x: layers.GlobalAveragePooling2D()(
        layers.ReLU()(layers.Conv2D(3, 1)(x))
    ),
}
UNDECIDED = {
    "by hand": (
        lambda x: (lambda e: e / ops.sum(e, axis=-1, keepdims=True))(
            ops.exp(scores(x))
        ),
        "the bare operation 'true_divide'",
        False,
    ),
    "sliced": (
        lambda x: layers.Dense(4)(layers.Flatten()(x))[:, :3],
        "the bare operation 'get_item'",
        True,
    ),
    "mixed": (
        lambda x: scores(x) + scores(x, "softmax"),
        "the bare operation 'add'",
        True,
    ),
    "scaled": (
        lambda x: 2 * scores(x, "softmax"),
        "the bare operation 'multiply'",
        True,
    ),
    "softmax of parts": (
        lambda x: layers.Flatten()(
            layers.Conv2D(3, 1, activation="softmax", name="last")(x)
        ),
        "layer 'last' with activation softmax",
        True,
    ),
    "sigmoid": (
        lambda x: scores(x, "sigmoid"),
        "layer 'dense' with activation sigmoid",
        True,
    ),
}


@pytest.mark.parametrize("from_logits", [None, False])
@pytest.mark.parametrize("end", ONE_SOFTMAX)
def test_one_softmax_is_left_out(end, from_logits, run):
    model = network(ONE_SOFTMAX[end])
    copy = as_subnetwork(model, "map", from_logits=from_logits)
    assert_softmax_is(copy, run(model, images()), run)
    # No logarithm is in it: the scores are there as they were.
    names = {type(each).__name__ for each in copy.operations}
    assert not names & {"Log", "Softmax"}
    with pytest.raises(InputError, match="^`from_logits` must not be True"):
        as_subnetwork(model, "map", from_logits=True)


@pytest.mark.parametrize("end", SEVERAL)
def test_several_softmaxes_become_a_logarithm(end, run, tmp_path):
    model = network(SEVERAL[end])
    with pytest.raises(InputError, match="^`from_logits` must be False .*loga"):
        as_subnetwork(model, "map")
    with pytest.raises(InputError, match="^`from_logits` must not be True"):
        as_subnetwork(model, "map", from_logits=True)
    copy = as_subnetwork(model, "map", from_logits=False)
    assert_softmax_is(copy, run(model, images()), run)
    method = VanillaModel(copy)
    method.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        *(run(each, images())["vanilla"] for each in (method, loaded))
    )


def test_logarithm_of_nothing_is_finite(run):
    """Certain predictions, whose smallest probabilities are 0."""
    model = network(lambda x: layers.Average()(two_heads(1e4 * x)))
    assert (run(model, images()) == 0).any()
    copy = as_subnetwork(model, "map", from_logits=False)
    assert np.isfinite(run(copy, images())["logits"]).all()


@pytest.mark.parametrize("from_logits", [None, True])
@pytest.mark.parametrize("end", LOGITS)
def test_logits_stay(end, from_logits, run):
    model = network(LOGITS[end])
    copy = as_subnetwork(model, "map", from_logits=from_logits)
    np.testing.assert_allclose(
        run(copy, images())["logits"], run(model, images()), rtol=1e-6
    )
    with pytest.raises(InputError, match="^`from_logits` must not be False"):
        as_subnetwork(model, "map", from_logits=False)


@pytest.mark.parametrize("end", UNDECIDED)
def test_what_the_graph_does_not_tell_is_asked(end, run):
    make, what, gives_logits = UNDECIDED[end]
    model = network(make)
    with pytest.raises(InputError) as caught:
        as_subnetwork(model, "map")
    caught.match(
        "^`model` must end in logits or in a softmax layer: at the end"
    )
    caught.match(f"of 'mine' stands {what}; `from_logits` must be True")
    copy = as_subnetwork(model, "map", from_logits=gives_logits)
    given = run(model, images())
    if gives_logits:
        np.testing.assert_allclose(run(copy, images())["logits"], given)
    else:
        assert_softmax_is(copy, given, run)
    wrong = "must not be False" if gives_logits else "must be False"
    with pytest.raises(InputError, match=f"^`from_logits` {wrong}"):
        as_subnetwork(model, "map", from_logits=not gives_logits)


@pytest.mark.parametrize("from_logits", [None, True])
def test_hidden_softmax_shows_in_the_numbers(from_logits, run):
    model = network(lambda x: Hidden(name="hidden")(scores(x)))
    message = (
        "^`from_logits` must be False: 'mine' gives probabilities for random "
        "images, at the end of 'mine' stands Hidden 'hidden'"
    )
    with pytest.raises(InputError, match=message):
        as_subnetwork(model, "map", from_logits=from_logits)
    copy = as_subnetwork(model, "map", from_logits=False)
    assert_softmax_is(copy, run(model, images()), run)


@pytest.mark.parametrize("value", ["yes", 0, 1])
def test_bad_from_logits(value):
    with pytest.raises(InputError, match="^`from_logits` must be True, False"):
        as_subnetwork(network(scores), "map", from_logits=value)


@pytest.mark.parametrize("end", ["operation", "nested", "average"])
def test_a_method_refuses_probabilities(end):
    """Networks that don't come by `as_subnetwork`."""
    ends = {**ONE_SOFTMAX, **SEVERAL}

    def outputs(end, name):
        model = network(end, name)
        features = model.get_layer("map").output
        return keras.Model(
            model.input, {"features": features, "logits": model.output}
        )

    with pytest.raises(
        InputError, match="`network`'s 'logits' must be logits, got prob"
    ):
        VanillaModel(outputs(ends[end], "mine"))
    with pytest.raises(InputError, match="sub-network 2's 'logits' must be"):
        EnsembleModel([outputs(scores, "a"), outputs(ends[end], "b")])
    VanillaModel(outputs(scores, "mine"))


# ----- ends of other tasks ----------------------------------------------------

SIGMOID_ENDS = {
    "activation": lambda x: scores(x, "sigmoid"),
    "layer": lambda x: layers.Activation("sigmoid")(scores(x)),
    "operation": lambda x: ops.sigmoid(scores(x)),
    "behind a cast": lambda x: ops.cast(scores(x, "sigmoid"), "float32"),
}


@pytest.mark.parametrize("end", SIGMOID_ENDS)
def test_a_sigmoid_of_labels_is_removed(end):
    model = network(SIGMOID_ENDS[end])
    copy = as_subnetwork(model, "map", task=MultiLabel())
    logits = ops.convert_to_numpy(copy(images())["logits"])
    assert logits.max() > 1
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits)), model(images()), rtol=1e-5
    )


def test_probabilities_of_labels_become_logits():
    model = network(
        lambda x: layers.Average()([scores(x, "sigmoid"), scores(x, "sigmoid")])
    )
    with pytest.raises(InputError, match="whose logit is then taken|logit of"):
        as_subnetwork(model, "map", task=MultiLabel())
    copy = as_subnetwork(model, "map", from_logits=False, task=MultiLabel())
    logits = ops.convert_to_numpy(copy(images())["logits"])
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits)), model(images()), rtol=1e-5
    )


@pytest.mark.parametrize("from_logits", [None, True])
def test_logits_of_labels_may_lie_in_0_to_1(from_logits):
    model = network(scores)
    bias = np.array([0.0, 0.5, 1.0], "float32")
    model.layers[-1].set_weights([np.zeros((5, 3)), bias])
    copy = as_subnetwork(model, "map", from_logits, task=MultiLabel())
    np.testing.assert_array_equal(copy(images())["logits"], [bias] * 3)


@pytest.mark.parametrize("end", SIGMOID_ENDS)
def test_a_sigmoid_is_no_end_of_classes(end):
    with pytest.raises(InputError, match="must end in logits or in a softmax"):
        as_subnetwork(network(SIGMOID_ENDS[end]), "map")


def test_a_softmax_is_no_end_of_labels():
    with pytest.raises(InputError, match="must end in logits or in a sigmoid"):
        as_subnetwork(
            network(lambda x: scores(x, "softmax")), "map", task=MultiLabel()
        )


@pytest.mark.parametrize("end", ["linear", "sigmoid", "softmax"])
def test_numbers_keep_their_end(end):
    model = network(lambda x: scores(x, end))
    copy = as_subnetwork(model, "map", task=Regression())
    np.testing.assert_allclose(copy(images())["logits"], model(images()))
    with pytest.raises(InputError, match="`from_logits` must be None"):
        as_subnetwork(model, "map", from_logits=True, task=Regression())


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("task", [None, MultiLabel()])
def test_networks_by_hand_give_logits(activation, task):
    image = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3)(image)
    outputs = {"features": x, "logits": scores(x, activation)}
    with pytest.raises(InputError, match="must be logits, got probabilities"):
        VanillaModel(keras.Model(image, outputs), task=task)
