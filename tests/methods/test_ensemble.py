"""Independent networks and the mean of their logits."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    IMAGE,
    HandSGD,
    branches,
    compiled,
    cross_entropy,
    data,
    moved,
    separate,
    subnetwork,
)

from keras_ffl import VanillaModel
from keras_ffl.errors import InputError
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    MutualLearningModel,
)


def fit(model):
    compiled(model, optimizer=HandSGD().optimizer(), run_eagerly=True)
    x, y = data(12)
    return model.fit(
        x, y, batch_size=4, epochs=2, shuffle=False, verbose=0
    ).history


def networks():
    """The same weights at every call."""
    keras.utils.set_random_seed(6)
    return separate(3)


def test_each_network_trains_as_it_would_alone():
    model = EnsembleModel(networks())
    history = fit(model)
    losses = []
    for k, network in enumerate(networks()):
        alone = VanillaModel(network)
        losses.append(fit(alone)["loss"])
        assert history[f"ce_sub_{k + 1}"] == losses[-1]
        pairs = zip(
            model.subnetworks[k].weights, alone.network.weights, strict=True
        )
        for ours, expected in pairs:
            np.testing.assert_array_equal(ours.numpy(), expected.numpy())
    assert history["loss"] == pytest.approx(np.sum(losses, axis=0), rel=1e-6)
    # They are three networks that train.
    assert len(set(map(tuple, losses))) == 3
    assert all(values[1] < values[0] for values in losses)


def test_heads_and_loss_against_numpy():
    model = moved(EnsembleModel(separate(3)))
    subs = ("sub_1", "sub_2", "sub_3")
    assert model.heads == (*subs, "ensemble")
    assert model.primary_head == "ensemble"
    compiled(model, metrics=["accuracy"], run_eagerly=True)
    x, y = data(20)
    logits = [network(x)["logits"].numpy() for network in model.subnetworks]
    mean = np.mean(logits, axis=0)
    np.testing.assert_allclose(
        model.classifier("ensemble")(x), mean, rtol=1e-5, atol=1e-6
    )
    expected = {
        f"ce_{head}": cross_entropy(np.eye(CLASSES)[y], z).mean()
        for head, z in zip(subs, logits)
    }
    expected["loss"] = sum(expected.values())
    for head, z in zip((*subs, "ensemble"), (*logits, mean)):
        right = z.argmax(axis=-1) == y
        expected[f"{head}_accuracy"] = right.mean()
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-5)


def test_copies_have_weights_of_their_own():
    model = EnsembleModel.from_copies(
        "resnet8", 3, num_classes=4, input_shape=(8, 8, 3)
    )
    assert (model.branches, model.num_classes) == (3, 4)
    one, two, three = (net.weights for net in model.subnetworks)
    assert [w.shape for w in one] == [w.shape for w in two]
    ids = {id(weight) for weight in (*one, *two, *three)}
    assert len(ids) == 3 * len(one)
    assert np.abs(one[0].numpy() - two[0].numpy()).max() > 0


def tied():
    """Networks on images of their own that share a layer."""
    shared = keras.layers.Conv2D(2, 3, padding="same")
    images = [keras.Input(IMAGE) for _ in range(2)]
    return [
        subnetwork(trunk=(image, shared(image)), name=f"net_{k}")
        for k, image in enumerate(images)
    ]


@pytest.mark.parametrize("make", [branches, tied])
@pytest.mark.parametrize(
    "method",
    [
        EnsembleModel,
        MutualLearningModel,
        lambda networks: DualNetModel(networks, 1),
    ],
    ids=["EnsembleModel", "MutualLearningModel", "DualNetModel"],
)
def test_shared_weights_are_refused(method, make):
    message = "`subnetworks` of .*Model must share no weights, got networks"
    with pytest.raises(InputError, match=message):
        method(make())


@pytest.mark.parametrize("method", [EnsembleModel, MutualLearningModel])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: separate(1), "list of at least 2 models, got 1"),
        (
            lambda: [subnetwork(), subnetwork(classes=4, name="other")],
            "must have one output shape, got .3,., .4,.",
        ),
    ],
    ids=["one", "classes"],
)
def test_networks_that_do_not_fit(method, make, message):
    with pytest.raises(InputError, match=message):
        method(make())
