"""Warnings of networks that train, but hardly as they were meant to."""

import warnings

import keras
import numpy as np
import pytest
from support.builders import (
    IMAGE,
    branches,
    compiled,
    data,
    ffl,
    moved,
    pair,
    subnetwork,
    teacher,
)

from keras_ffl import FeatureFusionModel
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    VanillaModel,
)
from keras_ffl.models import as_subnetwork

LAYERS = keras.layers
METHODS = {
    "ensemble": EnsembleModel,
    "dml": MutualLearningModel,
    "dml_simultaneous": lambda networks: MutualLearningModel(
        networks, simultaneous=True
    ),
    "ffl": lambda networks: FeatureFusionModel(networks, 0),
    "dualnet": lambda networks: DualNetModel(networks, 1),
}


def warned(make, *arguments):
    """What is made, and the messages of the warnings that came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = make(*arguments)
    # Those of this file, which called the package.
    ours = [each for each in caught if each.filename == __file__]
    assert all(each.category is UserWarning for each in ours)
    return result, [str(each.message) for each in ours]


# ----- equal weights ------------------------------------------------------


def classifier():
    network = subnetwork(name="trained")
    return keras.Model(network.input, network.output["logits"])


def copies(count=2):
    """Copies of one trained classifier."""
    trained = moved(classifier())
    return [as_subnetwork(trained, "trained_relu") for _ in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_one_trained_network_twice(method):
    model, messages = warned(METHODS[method], copies())
    (message,) = messages
    assert message.startswith("`subnetworks`: 1 and 2 hold the same weights")
    if method != "ensemble":
        return
    # That is why: they stay one network. Not warned of again.
    compiled(model, run_eagerly=True)
    _, messages = warned(model.train_on_batch, *data())
    assert messages == []
    ours, others = (network.get_weights() for network in model.subnetworks)
    for one, other in zip(ours, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_which_of_several():
    networks = [*copies(2), subnetwork(name="new")]
    networks = [networks[0], networks[2], networks[1]]
    _, messages = warned(EnsembleModel, networks)
    assert "`subnetworks`: 1 and 3 hold" in messages[0] and len(messages) == 1
    _, messages = warned(EnsembleModel, copies(3))
    assert "`subnetworks`: 1 and 2, 1 and 3, 2 and 3 hold" in messages[0]


def test_one_seed_for_two_networks():
    networks = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        networks.append(subnetwork())
    _, messages = warned(EnsembleModel, networks)
    assert "1 and 2 hold the same weights" in messages[0]


@pytest.mark.parametrize("method", METHODS)
def test_networks_of_their_own_draws(method):
    """Their biases and statistics are equal."""
    _, messages = warned(METHODS[method], pair())
    assert messages == []


def test_networks_that_differ_in_one_kernel():
    first, second = copies()
    kernel = second.get_layer("trained_dense").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[0, 0] += 1e-3
    kernel.assign(values)
    _, messages = warned(EnsembleModel, [first, second])
    assert messages == []


@pytest.mark.parametrize(
    "method", [METHODS["ffl"], lambda networks: OneModel(networks, 0)]
)
def test_a_shared_trunk_is_shared_on_purpose(method):
    _, messages = warned(method, branches())
    assert messages == []


def seeded(name):
    """A network whose kernels have the same values whenever it is made."""
    image = keras.Input(IMAGE)
    initializer = keras.initializers.RandomNormal(seed=3)
    x = LAYERS.Conv2D(3, 3, kernel_initializer=initializer)(image)
    logits = LAYERS.Dense(3, kernel_initializer=initializer)(
        LAYERS.GlobalAveragePooling2D()(x)
    )
    return keras.Model(image, {"features": x, "logits": logits}, name=name)


@pytest.mark.parametrize("make", [copies, lambda: [seeded("a"), seeded("b")]])
def test_a_saved_model_is_not_warned_of_when_it_is_loaded(make, tmp_path):
    model, messages = warned(EnsembleModel, make())
    assert "1 and 2 hold the same weights" in messages[0]
    model.save(tmp_path / "model.keras")
    # In the tests a warning is an error.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.heads == model.heads


def test_a_model_made_while_jax_traces():
    """Then its weights have no values to compare."""
    jax = pytest.importorskip("jax")
    if keras.backend.backend() != "jax":
        pytest.skip("needs Keras' backend jax")
    networks = pair()
    variables = [weight for net in networks for weight in net.weights]

    @jax.jit
    def heads(values):
        with keras.StatelessScope(zip(variables, values)):
            return len(EnsembleModel(networks).heads)

    assert heads([variable.value for variable in variables]) == 3


# ----- random layers inside -----------------------------------------------


@keras.saving.register_keras_serializable(package="tests")
class RandomShift(keras.layers.Layer):
    """Moves each image by some pixels in training, on any backend."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(5)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        shape = (keras.ops.shape(inputs)[0], 1, 1, 1)
        return inputs + keras.random.normal(shape, seed=self.generator)


RANDOM = {
    "flip": LAYERS.RandomFlip,
    "own": RandomShift,
    "pipeline": lambda: LAYERS.Pipeline([LAYERS.RandomRotation(0.1)]),
    "nested": lambda: keras.Sequential(
        [keras.Input(IMAGE), LAYERS.Rescaling(2.0), LAYERS.RandomZoom(0.1)]
    ),
    "augment": lambda: LAYERS.RandAugment((-1, 1)),
}
NOT_RANDOM = {
    "rescaling": lambda: LAYERS.Rescaling(0.5),
    "resizing": lambda: LAYERS.Resizing(4, 4),
    "dropout": lambda: LAYERS.Dropout(0.1),
    "noise": lambda: LAYERS.GaussianNoise(0.1),
}


def with_layers(*layers, **kwargs):
    """Networks that begin with a layer each, or None."""
    networks = []
    for k, layer in enumerate(layers):
        image = keras.Input(IMAGE)
        trunk = (image, layer(image) if layer else image)
        networks.append(subnetwork(trunk=trunk, name=f"net_{k}", **kwargs))
    return networks


SEPARATE = r"random layers inside networks \(.*\) draw separately for each net"


@pytest.mark.parametrize("kind", RANDOM)
def test_random_layers_inside(kind):
    with pytest.warns(UserWarning, match=SEPARATE):
        ffl(with_layers(RANDOM[kind](), RANDOM[kind]()))


@pytest.mark.parametrize("method", METHODS)
def test_random_layers_in_every_method(method):
    networks = with_layers(
        LAYERS.RandomFlip(name="mirror"), LAYERS.RandomZoom(0.1, name="near")
    )
    _, messages = warned(METHODS[method], networks)
    (message,) = messages
    assert "(mirror, near) draw" in message
    assert "`preprocessing`" in message


def test_a_random_layer_in_one_network():
    with pytest.warns(UserWarning, match=r"\(random_flip\) draw"):
        ffl(with_layers(None, LAYERS.RandomFlip()))


def test_one_layer_called_for_each_network():
    """It draws anew in each call."""
    mirror = LAYERS.RandomFlip()
    image = keras.Input(IMAGE)
    networks = [
        subnetwork(trunk=(image, mirror(image)), name=f"net_{k}")
        for k in range(2)
    ]
    with pytest.warns(UserWarning, match=SEPARATE):
        ffl(networks)


@pytest.mark.parametrize("kind", NOT_RANDOM)
def test_layers_that_may_be_inside(kind):
    networks = with_layers(NOT_RANDOM[kind](), NOT_RANDOM[kind]())
    _, messages = warned(METHODS["ffl"], networks)
    assert messages == []


def test_a_random_layer_in_the_trunk_draws_once():
    image = keras.Input(IMAGE)
    x = LAYERS.RandomFlip()(image)
    networks = [subnetwork(trunk=(image, x), name=f"net_{k}") for k in range(2)]
    _, messages = warned(METHODS["ffl"], networks)
    assert messages == []


def test_one_network_has_no_other_to_differ_from():
    _, messages = warned(VanillaModel, *with_layers(LAYERS.RandomFlip()))
    assert messages == []


def test_a_student_with_random_layers():
    (student,) = with_layers(LAYERS.RandomFlip())
    with pytest.warns(UserWarning, match=r"\(random_flip\) draw"):
        KnowledgeDistillationModel(student, teacher())


def test_a_teacher_draws_nothing():
    (network,) = with_layers(LAYERS.RandomFlip())
    wise = keras.Model(network.input, network.output["logits"])
    _, messages = warned(KnowledgeDistillationModel, subnetwork(), wise)
    assert messages == []


@pytest.mark.parametrize("method", ["ffl", "kd"])
def test_a_loaded_model_with_random_layers(method, tmp_path):
    with pytest.warns(UserWarning, match=SEPARATE):
        if method == "ffl":
            model = ffl(with_layers(LAYERS.RandomFlip(), LAYERS.RandomFlip()))
        else:
            model = KnowledgeDistillationModel(
                *with_layers(LAYERS.RandomFlip()), teacher()
            )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.heads == model.heads
