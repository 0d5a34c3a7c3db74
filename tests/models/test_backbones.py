"""Backbones with a new classifier as sub-networks."""

import keras
import numpy as np
import pytest

from keras_ffl import InputError, as_subnetwork

layers = keras.layers
SHAPE = (8, 8, 3)


def images(count=3):
    random = np.random.default_rng(0)
    return random.normal(size=(count, *SHAPE)).astype("float32")


def chain(*parts, name="mine"):
    image = keras.Input(SHAPE)
    x = image
    for part in parts:
        x = part(x)
    return keras.Model(image, x, name=name)


def maps():
    return [
        layers.Conv2D(6, 3, name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(name="map"),
    ]


def pooled(x):
    return keras.ops.mean(x, (1, 2))


def backbone():
    return chain(*maps(), name="backbone")


@pytest.mark.parametrize(
    "make, axes, layer",
    [
        (backbone, (1, 2), None),
        (lambda: chain(backbone(), pooled), (), None),
        (
            lambda: chain(layers.Reshape((16, 12)), layers.Dense(6)),
            (1,),
            None,
        ),
        (lambda: chain(backbone(), layers.MaxPooling2D()), (1, 2), "map"),
        (
            lambda: keras.Sequential([keras.Input(SHAPE), *maps()]),
            (1, 2),
            None,
        ),
    ],
)
def test_a_new_classifier(make, axes, layer, run, tmp_path):
    model = make()
    output = model.outputs[0]
    network = as_subnetwork(
        model,
        layer,
        num_classes=7,
        name="copy",
        preprocessing=layers.Rescaling(2.0),
    )
    assert network.name == "copy" and model.outputs[0] is output
    mine = {id(weight) for weight in model.weights}
    assert mine.isdisjoint(map(id, network.weights))
    outputs = run(network, images())
    inside = run(model.layers[1] if layer else model, 2 * images())
    np.testing.assert_allclose(outputs["features"], inside, rtol=1e-5)
    kernel, bias = (
        network.get_layer("network").get_layer("classifier").get_weights()
    )
    np.testing.assert_allclose(
        outputs["logits"],
        inside.mean(axis=axes) @ kernel + bias,
        rtol=1e-4,
        atol=1e-5,
    )
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        run(loaded, images())["logits"], outputs["logits"]
    )


def test_a_backbone_whose_output_is_in_a_list():
    model = backbone()
    listed = keras.Model(model.inputs, [model.outputs[0]])
    network = as_subnetwork(listed, num_classes=3)
    assert network.output["features"].shape == model.outputs[0].shape


def test_a_frozen_backbone():
    model = backbone()
    model.trainable = False
    for layer in (None, "map"):
        network = as_subnetwork(model, layer, num_classes=3)
        assert [w.path for w in network.trainable_weights] == [
            "classifier/kernel",
            "classifier/bias",
        ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_classes": 1}, "`num_classes` must be an int >= 2, got 1"),
        ({"num_classes": 3, "trainable": False}, "`trainable` must be True"),
        ({"num_classes": 3, "from_logits": True}, "`from_logits` must be None"),
        ({"num_classes": 3, "feature_layer": "no"}, "no layer 'no' in 'backb"),
    ],
)
def test_bad_arguments_of_a_new_classifier(arguments, message):
    with pytest.raises(InputError, match=message):
        as_subnetwork(backbone(), **arguments)


def test_a_backbone_without_features():
    model = chain(layers.Reshape((2, 2, 2, 24)))
    with pytest.raises(InputError, match="the output of `model` must be .b"):
        as_subnetwork(model, num_classes=3)
    model = keras.Model(model.input, [model.output, model.output])
    with pytest.raises(InputError, match="`model` must have one output"):
        as_subnetwork(model, num_classes=3)
