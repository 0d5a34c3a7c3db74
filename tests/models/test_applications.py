import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.methods import FeatureFusionModel
from keras_ffl.models import (
    application,
    application_preprocessing,
    as_subnetwork,
    build,
)

applications = keras.applications
MEAN, STD = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)
SHAPE = (32, 32, 3)
SMALL = {"alpha": 0.1}


def _raw(count=3, shape=SHAPE):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape))
    return images.astype("float32")


def _normalised(raw):
    return ((raw - MEAN) / STD).astype("float32")


# One application of each way of scaling: blue, green and red without
# ImageNet's mean; -1..1; ImageNet's mean and deviation; inside the network.
CASES = {
    "caffe": ("VGG16", applications.vgg16, "block5_pool", {}),
    "tf": ("MobileNet", applications.mobilenet, "conv_pw_13_relu", SMALL),
    "torch": ("DenseNet121", applications.densenet, "relu", {}),
    "none": (
        "MobileNetV3Small",
        applications.mobilenet_v3,
        "conv_1_bn",
        {"minimalistic": True},
    ),
}


@pytest.mark.parametrize("mode", CASES)
def test_logits_are_those_of_the_application_on_its_own_images(mode, run):
    name, family, feature_layer, options = CASES[mode]
    model = getattr(applications, name)(
        input_shape=SHAPE,
        weights=None,
        classes=5,
        classifier_activation=None,
        **options,
    )
    subnetwork = as_subnetwork(
        model,
        feature_layer,
        preprocessing=application_preprocessing(name, MEAN, STD),
    )
    images = [family.preprocess_input(_raw()), _normalised(_raw())]
    expected, bare = np.split(run(model, np.concatenate(images)), 2)
    outputs = run(subnetwork, images[1])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        outputs["logits"], expected, rtol=1e-3, atol=1e-4 * scale
    )
    assert outputs["features"].shape[1:3] == (1, 1)
    # Without the preprocessing they differ by far more than that.
    assert np.abs(bare - expected).max() > 0.01 * scale


# The layer of each family that takes the features, with its top.
POOLING = {
    "MobileNetV2": "global_average_pooling2d",
    "MobileNetV3Small": "global_average_pooling2d",
    "EfficientNetB0": "avg_pool",
}
SLOW_POOLING = {
    "ConvNeXtTiny": "convnext_tiny_head_gap",
    "DenseNet121": "avg_pool",
    "EfficientNetV2B0": "avg_pool",
    "InceptionResNetV2": "avg_pool",
    "InceptionV3": "avg_pool",
    "MobileNet": "global_average_pooling2d",
    "NASNetMobile": "global_average_pooling2d",
    "ResNet50": "avg_pool",
    "ResNet50V2": "avg_pool",
    "VGG16": "flatten",
    "Xception": "avg_pool",
}


@pytest.mark.parametrize(
    "name",
    [
        *POOLING,
        *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_POOLING),
    ],
)
def test_whole_application_without_naming_a_layer(name, run):
    shape = (75, 75, 3) if "ception" in name else SHAPE
    model = getattr(applications, name)(
        input_shape=shape, weights=None, classes=5
    )
    subnetwork = as_subnetwork(model)
    taken = model.get_layer({**POOLING, **SLOW_POOLING}[name]).input
    whole = keras.Model(model.input, [taken, model.output])
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape))
    features, probabilities = run(whole, images)
    outputs = run(subnetwork, images)
    scale = np.abs(features).max()
    np.testing.assert_allclose(
        outputs["features"], features, rtol=1e-4, atol=1e-5 * scale
    )
    assert np.ptp(features) > 0
    logits = outputs["logits"]
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(
        exponentials / exponentials.sum(axis=-1, keepdims=True),
        probabilities,
        rtol=1e-4,
        atol=1e-6,
    )


def _head(network):
    """Pooling and dense layer in NumPy, with the network's weights."""
    kernel, bias = (
        network.get_layer("network").get_layer("classifier").get_weights()
    )
    return lambda features: features.mean((1, 2)) @ kernel + bias


def test_application_with_a_classifier_of_its_own(tmp_path, run):
    options = {"input_shape": SHAPE, "weights": None, **SMALL}
    backbone = applications.MobileNet(include_top=False, **options)
    rng = np.random.default_rng(1)
    backbone.set_weights(
        [
            weight + rng.uniform(0, 0.1, weight.shape)
            for weight in backbone.get_weights()
        ]
    )
    path = tmp_path / "pretrained.weights.h5"
    backbone.save_weights(path)
    network = application(
        "MobileNet", 7, MEAN, STD, SHAPE, weights=str(path), **SMALL
    )
    assert network.name == backbone.name
    assert network.input_shape == (None, *SHAPE)
    assert network.output["logits"].shape == (None, 7)

    outputs = run(network, _normalised(_raw()))
    scaled = applications.mobilenet.preprocess_input(_raw())
    features = run(backbone, scaled)
    np.testing.assert_allclose(
        outputs["features"], features, rtol=1e-3, atol=1e-4
    )
    assert np.ptp(features) > 0.1
    np.testing.assert_allclose(
        outputs["logits"], _head(network)(features), rtol=1e-3, atol=1e-4
    )


def test_fuses_with_another_network_saves_and_loads(tmp_path, run):
    networks = [
        application("MobileNet", 4, MEAN, STD, SHAPE, **SMALL),
        build("resnet8", 4, SHAPE),
    ]
    model = FeatureFusionModel(networks, rampup_epochs=1)
    images = _normalised(_raw())
    expected = run(model, images)
    np.testing.assert_array_equal(
        expected["sub_1"], run(networks[0], images)["logits"]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for head, logits in run(loaded, images).items():
        np.testing.assert_array_equal(logits, expected[head])


FAMILIES = {
    "ConvNeXtTiny": applications.convnext,
    "DenseNet201": applications.densenet,
    "EfficientNetB3": applications.efficientnet,
    "EfficientNetV2S": applications.efficientnet_v2,
    "InceptionResNetV2": applications.inception_resnet_v2,
    "InceptionV3": applications.inception_v3,
    "MobileNet": applications.mobilenet,
    "MobileNetV2": applications.mobilenet_v2,
    "MobileNetV3Large": applications.mobilenet_v3,
    "NASNetMobile": applications.nasnet,
    "ResNet152": applications.resnet,
    "ResNet50V2": applications.resnet_v2,
    "VGG16": applications.vgg16,
    "VGG19": applications.vgg19,
    "Xception": applications.xception,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_own_scaling(name):
    preprocess = application_preprocessing(name, MEAN, STD)
    np.testing.assert_allclose(
        preprocess(keras.ops.convert_to_tensor(_normalised(_raw()))),
        FAMILIES[name].preprocess_input(_raw()),
        rtol=1e-5,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "policy, dtype", [("mixed_bfloat16", "float32"), ("float64", "float64")]
)
def test_preprocessing_keeps_its_precision(policy, dtype):
    keras.config.set_dtype_policy(policy)
    images = ((_raw().astype("float64") - MEAN) / STD).astype(dtype)
    outputs = application_preprocessing("ResNet50V2", MEAN, STD)(images)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(outputs),
        _raw().astype("float64") / 127.5 - 1,
        atol=1e-12 if dtype == "float64" else 1e-6,
    )


def test_half_precision_application():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = application("MobileNet", 4, MEAN, STD, SHAPE, **SMALL)
    assert network.get_layer("preprocessing").output.dtype == "float32"
    assert network.output["features"].dtype == "bfloat16"
    assert network.output["logits"].dtype == "float32"


@pytest.mark.parametrize(
    "name", ["mobilenet", "ResNet18", "__name__", "imagenet_utils", None, []]
)
def test_unknown_application_lists_the_known_ones(name):
    message = "`name` must be a model of keras.applications: ConvNeXtBase, .*"
    with pytest.raises(InputError, match=f"{message}VGG19, Xception; got"):
        application(name, 10, MEAN, STD)


@pytest.mark.parametrize(
    "mean, std",
    [(MEAN, STD[:2]), (MEAN, (1.0, 0.0, 1.0)), ((), ()), (MEAN, 2.0)],
)
def test_bad_mean_or_std(mean, std):
    with pytest.raises(InputError, match="`mean` and `std` must have one"):
        application_preprocessing("MobileNet", mean, std)


def test_mean_and_std_of_other_channels():
    with pytest.raises(InputError, match="`mean` and `std` have 1 numbers"):
        application("MobileNet", 4, 72.9, 90.0, SHAPE, **SMALL)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": "nowhere.h5"}, "`weights` argument should be either"),
        ({"input_shape": (16, 16, 3)}, "Input size must be at least 32x32"),
        ({"alhpa": 0.1}, "unexpected keyword argument 'alhpa'"),
    ],
)
def test_what_keras_refuses_is_an_input_error(options, message):
    with pytest.raises(
        InputError, match=rf"^keras\.applications\.MobileNet: .*{message}"
    ):
        application("MobileNet", 4, MEAN, STD, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 0}, "`num_classes` must be an int >= 1"),
        ({"input_shape": (32, 32)}, "`input_shape` must be"),
        ({"include_preprocessing": False}, "`include_preprocessing` must be"),
    ],
)
def test_bad_arguments(options, message):
    arguments = {"num_classes": 4, "mean": MEAN, "std": STD, **options}
    with pytest.raises(InputError, match=message):
        application("MobileNet", **arguments)
