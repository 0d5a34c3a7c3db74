"""Networks of a method that are frozen: they teach and are not changed."""

import warnings

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    METHODS,
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
    pair,
    separate,
)

from keras_ffl import FeatureFusionModel, as_subnetwork
from keras_ffl.errors import InputError
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    MutualLearningModel,
    OneModel,
    VanillaModel,
)
from keras_ffl.models import vit

tf = pytest.importorskip("tensorflow")

STEPS, BATCH = 3, 4


def networks(frozen, make=separate):
    """Two networks, one of them frozen, the same at every call."""
    keras.utils.set_random_seed(1)
    nets = [moved(network) for network in make()]
    nets[frozen].trainable = False
    return nets


def values(variables):
    return [variable.numpy() for variable in variables]


# ----- DML ----------------------------------------------------------------


@pytest.mark.parametrize("simultaneous", [False, True])
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_peer_against_training_by_hand(frozen, simultaneous):
    """As in inference, it teaches the other one, whose update is one of two."""
    sgd = HandSGD()
    model = compiled(
        MutualLearningModel(networks(frozen), simultaneous=simultaneous),
        optimizer=sgd.optimizer(),
    )
    nets = networks(frozen)
    peer, free = nets[frozen], nets[1 - frozen]
    x, y = data(STEPS * BATCH)
    for images, labels in zip(np.split(x, STEPS), np.split(y, STEPS)):
        logs = model.train_on_batch(images, labels, return_dict=True)
        teacher = peer(images)["logits"].numpy()
        with tf.GradientTape() as tape:
            logits = free(images, training=True)["logits"]
            loss = mean_cross_entropy(labels, logits)
            loss += mean_kl(teacher, logits, 1.0)
        before = logits.numpy()
        sgd.step(tape, loss, free.trainable_variables)
        rows = np.eye(3)[labels]
        assert logs[f"ce_sub_{frozen + 1}"] == pytest.approx(
            cross_entropy(rows, teacher).mean(), rel=1e-4
        )
        assert logs[f"mutual_sub_{2 - frozen}"] == pytest.approx(
            kl(teacher, before, 1.0).mean(), rel=1e-4
        )
        model.reset_metrics()
    ours = model.subnetworks
    assert_close(ours[1 - frozen].weights, free.weights)
    for old, new in zip(peer.weights, ours[frozen].weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(model.optimizer.iterations.numpy()) == STEPS


def test_the_loss_of_a_frozen_peer_is_part_of_the_logged_loss():
    model = compiled(MutualLearningModel(networks(0)))
    logs = model.train_on_batch(*data(), return_dict=True)
    terms = [logs[f"{term}_sub_{k}"] for term in ("ce", "mutual") for k in "12"]
    assert logs["loss"] == pytest.approx(sum(terms), rel=1e-5)
    assert all(terms)


@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_frozen_peer_is_frozen_in_the_loaded_model_too(
    simultaneous, tmp_path
):
    model = compiled(
        MutualLearningModel(networks(0), simultaneous=simultaneous),
        optimizer=HandSGD().optimizer(),
    )
    model.train_on_batch(*data())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for each in (model, loaded):
        each.train_on_batch(*data(seed=1))
    assert_close(loaded.weights, model.weights)


def test_layers_made_by_frozen_layers_are_frozen_in_the_loaded_model(tmp_path):
    """Attention creates dense layers, the fusion convolutions."""
    keras.utils.set_random_seed(1)
    image = (8, 8, 2)
    peers = [
        vit(CLASSES, image, depth=3, width=4, heads=2, name=f"vit_{k}")
        for k in range(2)
    ]
    peers[0].trainable = False
    fused = FeatureFusionModel(branches(image=image), 0)
    fused.fusion.trainable = False
    for method in (MutualLearningModel(peers), fused):
        model = compiled(method, optimizer=HandSGD().optimizer())
        model.train_on_batch(*data(image=image))
        model.save(tmp_path / "model.keras")
        with warnings.catch_warnings():
            # Keras' warning of an optimizer with other variables.
            warnings.simplefilter("error")
            loaded = keras.saving.load_model(tmp_path / "model.keras")
        paths = [v.path for v in model.trainable_variables]
        assert [v.path for v in loaded.trainable_variables] == paths
        for each in (model, loaded):
            each.train_on_batch(*data(image=image, seed=1))
        assert_close(loaded.weights, model.weights)


@keras.saving.register_keras_serializable()
class Encoder(keras.layers.Layer):
    """A layer whose parts can be frozen one by one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.frozen = keras.layers.Conv2D(3, 1, name="frozen", trainable=False)
        self.opened = keras.layers.Conv2D(2, 1, name="opened", trainable=False)
        self.first = keras.layers.Conv2D(3, 3, name="first")
        self.second = keras.layers.Conv2D(4, 3, name="second")

    def build(self, shape):
        self.frozen.build(shape)
        self.opened.build((*shape[:-1], 3))
        self.first.build(shape)
        self.second.build(self.first.compute_output_shape(shape))

    def call(self, x):
        return self.second(self.first(self.opened(self.frozen(x))))


@pytest.mark.parametrize("method", [MutualLearningModel, VanillaModel])
def test_frozen_parts_of_a_layer_are_frozen_in_the_loaded_model(
    method, tmp_path
):
    """With the optimizer's momentum, so that a run goes on as it was."""
    networks = []
    for k in range(2):
        image = keras.Input((8, 8, 2))
        encoder = Encoder(name=f"encoder_{k}")
        x = keras.layers.GlobalAveragePooling2D()(encoder(image))
        encoder.first.trainable = False
        encoder.opened.trainable = True
        encoder.second.bias.trainable = False
        dense = keras.layers.Dense(CLASSES, name="dense")
        network = keras.Model(image, dense(x), name=f"network_{k}")
        networks.append(as_subnetwork(network))
    model = compiled(
        method(networks if method is MutualLearningModel else networks[0]),
        optimizer=HandSGD().optimizer(),
    )
    model.train_on_batch(*data(image=(8, 8, 2)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [v.path for v in model.trainable_variables]
    found = {"/".join(path.split("/")[-2:]) for path in paths}
    assert found >= {"opened/kernel", "opened/bias", "second/kernel"}
    assert not found & {"first/kernel", "frozen/kernel", "second/bias"}
    assert [v.path for v in loaded.trainable_variables] == paths
    for each in (model, loaded):
        each.train_on_batch(*data(image=(8, 8, 2), seed=1))
    assert_close(loaded.weights, model.weights)


# ----- all methods --------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "make"),
    [
        (lambda nets: FeatureFusionModel(nets, 0), branches),
        (lambda nets: OneModel(nets, 0), branches),
        (EnsembleModel, separate),
        (lambda nets: DualNetModel(nets, 1), pair),
    ],
    ids=["ffl", "one", "ensemble", "dualnet"],
)
def test_a_frozen_network_among_others(build, make):
    model = compiled(build(networks(0, make)))
    frozen, free = model.subnetworks
    # A trunk is frozen with the network.
    moving = [w for w in free.weights if id(w) not in map(id, frozen.weights)]
    before = values(frozen.weights), values(moving)
    model.fit(*data(), batch_size=4, epochs=2, verbose=0)
    for old, new in zip(before[0], values(frozen.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(before[1], values(moving), strict=True):
        assert (old != new).any()
    assert int(model.optimizer.iterations.numpy()) == 4


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_train(method):
    model = METHODS[method]()
    model.trainable = False
    compiled(model)
    x, y = data()
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] > 0
    message = "`trainable` must be True for a layer that a step of .* moves"
    with pytest.raises(InputError, match=message):
        model.fit(x, y, verbose=0)
    with pytest.raises(InputError, match=message):
        model.train_on_batch(x, y)


def test_a_turn_with_nothing_to_train():
    nets = networks(0, pair)
    model = DualNetModel(nets, 1)
    model.get_layer("fused_classifier").trainable = False
    compiled(model)
    assert model.next_turn() == "sub_1"
    with pytest.raises(InputError, match="a step of DualNetModel moves, got"):
        model.train_on_batch(*data())
