"""The networks of keras-hub as sub-networks."""

import keras
import numpy as np
import pytest

from keras_ffl import FeatureFusionModel, InputError, as_subnetwork
from keras_ffl.models import count_multiply_adds

keras_hub = pytest.importorskip(
    "keras_hub", reason="the hub extra is not installed", exc_type=ImportError
)
SHAPE = (16, 16, 3)


def resnet():
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=SHAPE,
        name="resnet",
    )


def vit():
    return keras_hub.models.ViTBackbone(
        image_shape=SHAPE,
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=24,
        name="vit",
    )


def moved(model):
    random = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + random.uniform(0, 0.1, weight.shape))
    return model


def images(count=3):
    random = np.random.default_rng(0)
    return random.normal(size=(count, *SHAPE)).astype("float32")


# The last stage of a ResNet, a class token and 16 patches.
BACKBONES = {"resnet": (resnet, (2, 2, 64)), "vit": (vit, (17, 8))}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone(name, run, tmp_path):
    make, shape = BACKBONES[name]
    backbone = moved(make())
    network = as_subnetwork(backbone, num_classes=5)
    assert network.name == name
    outputs, features = run(network, images()), run(backbone, images())
    assert features.shape == (3, *shape)
    np.testing.assert_array_equal(outputs["features"], features)
    kernel, bias = network.get_layer("classifier").get_weights()
    positions = tuple(range(1, features.ndim - 1))
    np.testing.assert_allclose(
        outputs["logits"],
        features.mean(axis=positions) @ kernel + bias,
        rtol=1e-4,
        atol=1e-5,
    )
    mine = {id(variable) for variable in backbone.variables}
    assert mine.isdisjoint(id(variable) for variable in network.variables)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        run(loaded, images())["logits"], outputs["logits"]
    )


def test_multiply_adds_of_a_vision_transformer():
    network = as_subnetwork(vit(), num_classes=5)
    block = 17 * (4 * 8 * 8 + 2 * 8 * 24) + 2 * 17 * 17 * 8
    expected = 16 * (4 * 4 * 3) * 8 + 2 * block + 8 * 5
    assert count_multiply_adds(network) == expected


def test_resnet_classifier(run):
    model = moved(
        keras_hub.models.ResNetImageClassifier(backbone=resnet(), num_classes=4)
    )
    network = as_subnetwork(model)
    outputs = run(network, images())
    np.testing.assert_array_equal(
        outputs["features"], run(model.backbone, images())
    )
    np.testing.assert_allclose(
        outputs["logits"], run(model, images()), rtol=1e-5
    )


def test_vision_transformer_classifier(run):
    """Its logits come from the class token: nothing pools the tokens."""
    model = moved(
        keras_hub.models.ViTImageClassifier(backbone=vit(), num_classes=4)
    )
    with pytest.raises(InputError) as caught:
        as_subnetwork(model)
    caught.match("no pooling or flattening layer .*the last: .*, vit, vit/vit_")
    network = as_subnetwork(model, "vit")
    outputs = run(network, images())
    np.testing.assert_array_equal(
        outputs["features"], run(model.backbone, images())
    )
    np.testing.assert_allclose(
        outputs["logits"], run(model, images()), rtol=1e-5
    )


def test_a_cnn_and_a_vision_transformer_together(run, tmp_path):
    networks = [as_subnetwork(make(), num_classes=4) for make in (resnet, vit)]
    model = FeatureFusionModel(networks, rampup_epochs=1)
    model.compile()
    before = model.get_weights()
    model.fit(images(4), np.arange(4), verbose=0)
    assert any(
        np.abs(one - other).max() > 1e-4
        for one, other in zip(before, model.get_weights())
    )
    expected = run(model, images())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for head, logits in run(loaded, images()).items():
        np.testing.assert_array_equal(logits, expected[head])
