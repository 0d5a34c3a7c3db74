"""The classifiers of keras-cv as sub-networks."""

import keras
import numpy as np
import pytest

from keras_ffl import VanillaModel, as_subnetwork

keras_cv = pytest.importorskip("keras_cv")
SHAPE = (32, 32, 3)


def backbone(name, **arguments):
    return getattr(keras_cv.models, name)(input_shape=SHAPE, **arguments)


BACKBONES = {
    "resnet": lambda: backbone(
        "ResNetV2Backbone",
        stackwise_filters=[4, 8],
        stackwise_blocks=[2, 2],
        stackwise_strides=[1, 2],
        include_rescaling=True,
    ),
    # Layers of layers.
    "efficientnet": lambda: backbone(
        "EfficientNetV2Backbone",
        skip_connection_dropout=0.2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 8],
        stackwise_expansion_ratios=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0, 0.25],
        stackwise_strides=[1, 2],
        stackwise_conv_types=["fused", "unfused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        min_depth=8,
        include_rescaling=True,
    ),
    # With a layer whose configuration does not make it: only the model's does.
    "mobilenet": lambda: backbone(
        "MobileNetV3Backbone",
        stackwise_expansion=[1, 4],
        stackwise_filters=[8, 8],
        stackwise_kernel_size=[3, 3],
        stackwise_stride=[2, 2],
        stackwise_se_ratio=[0.25, None],
        stackwise_activation=["relu", "hard_swish"],
        include_rescaling=True,
    ),
    # With a `Lambda`, likewise.
    "darknet": lambda: backbone(
        "CSPDarkNetBackbone",
        stackwise_channels=[4, 4],
        stackwise_depth=[1, 1],
        use_depthwise=False,
        include_rescaling=True,
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_image_classifier(name, run, tmp_path):
    inside = BACKBONES[name]()
    model = keras_cv.models.ImageClassifier(backbone=inside, num_classes=3)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + rng.uniform(0.0, 0.1, weight.shape))
    images = rng.uniform(0, 255, (2, *SHAPE))
    network = as_subnetwork(model, inside.name)
    mine = {id(variable) for variable in model.variables}
    assert not mine & {id(variable) for variable in network.variables}
    assert len(network.weights) == len(model.weights)
    logits = run(network, images)["logits"]
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run(model, images), probabilities, atol=1e-6)
    method = VanillaModel(network)
    method.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(loaded, images)["vanilla"], logits)
