"""Grad-CAM of every head of every method, and of what does not fit."""

import numpy as np
import pytest
from support import builders, grad_cam_reference

from keras_ffl import InputError
from keras_ffl.methods import MutualLearningModel
from keras_ffl.studies.pictures import grad_cam, grad_cam_plus_plus
from keras_ffl.studies.pictures.grad_cam import has_map

CLASSES = np.array([0, 2, 1])
NAMES = ("ffl", "vanilla", "ensemble", "dualnet", "one", "dml", "kd")


@pytest.fixture(scope="module")
def images():
    return builders.data(3, seed=1)[0]


@pytest.fixture(scope="module")
def models():
    return {name: builders.moved(builders.METHODS[name]()) for name in NAMES}


def maps_of(model, images):
    """The sub-networks' maps in NumPy and the kernels behind them."""
    x = images.astype("float64")
    names = [layer.name for layer in model._flatten_layers()]
    if "trunk_conv" in names:
        x = grad_cam_reference.convolve(
            x, *grad_cam_reference.weights_of(model, "trunk_conv")
        )
    nets = sorted(
        {name.removesuffix("_dense") for name in names if name[-6:] == "_dense"}
        - {"gate", "wise"}
    )
    nets = [net for net in nets if f"{net}_conv" in names]
    return x, [
        (
            grad_cam_reference.branch(model, net, x),
            grad_cam_reference.weights_of(model, f"{net}_dense")[0],
        )
        for net in nets
    ]


def expected_map(parts, factors):
    """Grad-CAM of logits that are a weighted sum of dense layers on maps.

    `factors`: of each part, a number or one for each image.
    """
    gradients = [
        grad_cam_reference.pooled_gradient(kernel, CLASSES, features.shape)
        * np.reshape(factor, (-1, 1, 1, 1))
        for (features, kernel), factor in zip(parts, factors, strict=True)
    ]
    return grad_cam_reference.grad_cam(
        np.concatenate([features for features, _ in parts], axis=-1),
        np.concatenate(gradients, axis=-1),
    )


def assert_map(model, images, head, expected):
    assert expected.max() > 0.01
    np.testing.assert_allclose(
        grad_cam(model, images, head, classes=CLASSES),
        expected,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["ffl", "ensemble", "dualnet", "one", "dml"])
def test_sub_networks(models, images, name):
    _, parts = maps_of(models[name], images)
    assert len(parts) == (3 if name == "one" else 2)
    for k, part in enumerate(parts, start=1):
        expected = expected_map([part], [1])
        assert_map(models[name], images, f"sub_{k}", expected)


@pytest.mark.parametrize("name", ["ffl", "ensemble", "dml"])
def test_ensemble_is_the_mean_over_all_maps(models, images, name):
    _, parts = maps_of(models[name], images)
    expected = expected_map(parts, [0.5, 0.5])
    assert_map(models[name], images, "ensemble", expected)


def test_fused_and_average_of_dualnet(models, images):
    model = models["dualnet"]
    _, parts = maps_of(model, images)
    kernel, _ = grad_cam_reference.weights_of(model, "fused_classifier")
    total = sum(features for features, _ in parts)
    assert_map(model, images, "fused", expected_map([(total, kernel)], [1]))
    weight = model.classifier_weight
    joined = [(f, kernel + weight * own) for f, own in parts]
    assert_map(model, images, "average", expected_map(joined, [1, 1]))


def test_gated_teacher(models, images):
    model = models["one"]
    trunk, parts = maps_of(model, images)
    gate = np.asarray(model.gate(trunk.astype("float32")))
    assert gate.std() > 0.01
    assert_map(model, images, "teacher", expected_map(parts, gate.T))


def test_student_and_its_teacher(models, images):
    model = models["kd"]
    for head, net in (("student", "net"), ("teacher", "wise")):
        features = grad_cam_reference.branch(
            model, net, images.astype("float64")
        )
        kernel, _ = grad_cam_reference.weights_of(model, f"{net}_dense")
        expected = expected_map([(features, kernel)], [1])
        assert_map(model, images, head, expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_head_has_a_map_by_both_methods(models, images, name):
    for head in models[name].heads:
        for method in (grad_cam, grad_cam_plus_plus):
            maps = method(models[name], images, head)
            assert maps.shape == (3, 4, 4)
            assert np.isfinite(maps).all() and maps.min() >= 0


def test_layers_of_nested_networks(models, images):
    model = models["ensemble"]
    for layer in ("net_0_relu", "subnetwork_1/net_0_relu"):
        np.testing.assert_array_equal(
            grad_cam(model, images, "sub_1", layer=layer),
            grad_cam(model, images, "sub_1"),
        )
    # One network's map of a head that all are in.
    alone = grad_cam(model, images, "ensemble", 1, layer="net_1_relu")
    own = grad_cam(model, images, "sub_2", 1)
    np.testing.assert_allclose(alone, own / 2, rtol=1e-5, atol=1e-6)


def test_layers_of_one_name_are_told_apart(images):
    same = [builders.subnetwork(channels=c, name="net") for c in (3, 4)]
    model = builders.moved(MutualLearningModel(same))
    message = "'net_relu' is one of subnetwork_1/net_relu, subnetwork_2/net_rel"
    with pytest.raises(InputError, match=message):
        grad_cam(model, images, "ensemble", layer="net_relu")
    maps = [
        grad_cam(model, images, "ensemble", 0, f"subnetwork_{k}/net_relu")
        for k in (1, 2)
    ]
    assert np.abs(maps[0] - maps[1]).max() > 0.01


# ----- bad input --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "sub_3"}, "`head` must be one of fused, .* got 'sub_3'"),
        (
            {"layer": "no"},
            "there is no layer 'no' in 'fused_classifier'; candidates, from "
            "the last: fusion_module, net_",
        ),
        ({"layer": "net_1_pool"}, "there is no layer 'net_1_pool' in"),
        ({"layer": "fused_classifier"}, "gives no feature map"),
        ({"classes": 3}, "`classes` must be in 0..2, got 3"),
        ({"classes": -1}, "`classes` must be in 0..2, got -1"),
        ({"classes": 1.0}, "`classes` must be an int, .* got 1.0"),
        ({"classes": "cat"}, "`classes` must be an int, .* got 'cat'"),
        ({"classes": [0, 1]}, "one for each of the at least 3 images, got 2"),
        ({"classes": [0] * 4}, "one for each of the 3 images, got 4"),
        ({"batch_size": 0}, "`batch_size` must be an int >= 1, got 0"),
    ],
)
def test_what_does_not_exist(models, images, arguments, message):
    for method in (grad_cam, grad_cam_plus_plus):
        with pytest.raises(InputError, match=message) as error:
            method(models["ffl"], images, **arguments)
        assert "\n" not in str(error.value)


def test_other_images(models, images):
    for wrong in (images[0], images[:, :3], images[..., :1]):
        with pytest.raises(InputError, match="`images` must be of shape"):
            grad_cam(models["ffl"], wrong)
    with pytest.raises(InputError, match="at least one image, got none"):
        grad_cam(models["ffl"], images[:0])


def test_maps_of_different_sizes_are_not_joined(images):
    networks = [builders.subnetwork(name=f"net_{k}", strides=k) for k in (1, 2)]
    model = MutualLearningModel(networks)
    message = "joins feature maps of different sizes, \\(2, 2\\), \\(4, 4\\)"
    with pytest.raises(InputError, match=message):
        grad_cam(model, images, "ensemble")
    assert grad_cam(model, images, "sub_2").shape == (3, 2, 2)
    assert not has_map(model, "ensemble") and has_map(model, "sub_2")
