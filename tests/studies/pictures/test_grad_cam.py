"""Grad-CAM and Grad-CAM++ against NumPy and finite differences."""

import keras
import numpy as np
import pytest
from support import builders, grad_cam_reference

from keras_ffl import data
from keras_ffl.methods import FeatureFusionModel
from keras_ffl.studies.pictures import grad_cam, grad_cam_plus_plus
from keras_ffl.studies.pictures.grad_cam import weigh_by_place

CLASSES = np.array([0, 2, 1, 1, 0])


@pytest.fixture(scope="module")
def images():
    return builders.data(5, seed=1)[0]


@pytest.fixture(scope="module")
def vanilla():
    return builders.moved(builders.METHODS["vanilla"]())


@pytest.fixture(scope="module")
def ffl():
    model = builders.moved(builders.ffl())
    # Of both signs, so that a ReLU of the fusion module is off somewhere.
    rng = np.random.default_rng(5)
    for layer in (model.fusion.depthwise, model.fusion.pointwise):
        layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    return model


def ffl_logits(model, head, trunk):
    """Logits of an FFL model of `builders` from the map of its trunk."""
    maps = [grad_cam_reference.branch(model, f"net_{k}", trunk) for k in (1, 2)]
    if head == "fused":
        fused = grad_cam_reference.fuse(model, maps)
        return grad_cam_reference.dense(model, "fused_classifier", fused)
    subs = [
        grad_cam_reference.dense(model, f"net_{k}_dense", features)
        for k, features in zip((1, 2), maps)
    ]
    return {"sub_1": subs[0], "sub_2": subs[1], "ensemble": sum(subs) / 2}[head]


def trunk_of(model, images):
    return grad_cam_reference.convolve(
        images.astype("float64"),
        *grad_cam_reference.weights_of(model, "trunk_conv"),
    )


# ----- correctness ------------------------------------------------------------


def test_last_map_of_a_network_by_hand(vanilla, images):
    features = grad_cam_reference.branch(
        vanilla, "net", images.astype("float64")
    )
    kernel, _ = grad_cam_reference.weights_of(vanilla, "net_dense")
    gradients = grad_cam_reference.pooled_gradient(
        kernel, CLASSES, features.shape
    )
    maps = grad_cam(vanilla, images, classes=CLASSES)
    assert maps.dtype == np.float32 and maps.shape == (5, 4, 4)
    expected = grad_cam_reference.grad_cam(features, gradients)
    assert expected.max() > 0.01
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["fused", "sub_1", "sub_2", "ensemble"])
def test_inner_map_against_finite_differences(ffl, images, head):
    trunk = trunk_of(ffl, images)
    logits = ffl_logits(ffl, head, trunk)
    np.testing.assert_allclose(
        ffl.classifier(head)(images), logits, rtol=1e-4, atol=1e-5
    )

    def chosen(trunk):
        return ffl_logits(ffl, head, trunk)[np.arange(5), CLASSES]

    gradients = grad_cam_reference.differences(chosen, trunk)
    # Not a constant over the map, as those of the last map are.
    assert np.ptp(gradients, axis=(1, 2)).max() > 1e-3
    arguments = {"head": head, "classes": CLASSES, "layer": "trunk_conv"}
    np.testing.assert_allclose(
        grad_cam(ffl, images, **arguments),
        grad_cam_reference.grad_cam(trunk, gradients),
        rtol=1e-4,
        atol=1e-5,
    )
    own = logits[np.arange(5), CLASSES]
    expected = grad_cam_reference.grad_cam_plus_plus(trunk, gradients, own)
    expected /= np.exp(own)[:, None, None]
    np.testing.assert_allclose(
        grad_cam_plus_plus(ffl, images, **arguments),
        expected,
        rtol=1e-3,
        atol=1e-4,
    )


def test_plus_plus_weights_of_small_and_zero_gradients():
    features = np.array([1.0, 2, 0, 3], "float32").reshape(1, 2, 2, 1)
    gradients = np.array([0.5, -1, 0, 1e-20], "float32").reshape(1, 2, 2, 1)
    # 0.5 / (2 + 0.5 * 6), nothing, nothing, 1e-20 / 2
    np.testing.assert_allclose(
        weigh_by_place(features, gradients), [[0.1]], rtol=1e-6
    )


# ----- classes, batches -------------------------------------------------------


def test_the_predicted_class_is_explained_unless_asked_otherwise(ffl, images):
    for head in ("fused", "sub_1", "ensemble"):
        predicted = np.argmax(ffl.classifier(head)(images), axis=-1)
        np.testing.assert_array_equal(
            grad_cam(ffl, images, head),
            grad_cam(ffl, images, head, classes=predicted),
        )
    np.testing.assert_array_equal(
        grad_cam(ffl, images), grad_cam(ffl, images, "fused")
    )
    one = [grad_cam(ffl, images, "sub_1", classes=c) for c in (1, [1] * 5)]
    np.testing.assert_array_equal(*one)


def test_batches_change_nothing(ffl, images):
    whole = grad_cam(ffl, images, classes=CLASSES)
    parts = grad_cam(ffl, images, classes=CLASSES, batch_size=2)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_batches_of_a_data_set(ffl):
    x = np.arange(5 * 32, dtype="uint8").reshape(5, 4, 4, 2)
    dataset = data.from_arrays(x, CLASSES, x, CLASSES)
    whole = grad_cam(ffl, data.normalize(x, dataset.info), classes=CLASSES)
    streamed = grad_cam(ffl, dataset.evaluation_batches(3), classes=CLASSES)
    np.testing.assert_allclose(streamed, whole, rtol=1e-5, atol=1e-6)


def test_no_weight_changes(ffl, images):
    before = [w.numpy() for w in ffl.weights]
    grad_cam(ffl, images, layer="trunk_conv")
    grad_cam_plus_plus(ffl, images, "sub_1")
    builders.assert_close(ffl.weights, before, tolerance=0)


def test_half_precision(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = builders.moved(builders.METHODS["vanilla"]())
    maps = grad_cam(model, images, classes=CLASSES)
    assert maps.dtype == np.float32
    keras.config.set_dtype_policy("float32")
    full = builders.METHODS["vanilla"]()
    full.set_weights(model.get_weights())
    expected = grad_cam(full, images, classes=CLASSES)
    np.testing.assert_allclose(maps, expected, atol=0.05 * expected.max())


def test_a_loaded_model_has_the_same_maps(ffl, images, tmp_path):
    ffl.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, FeatureFusionModel)
    for head in ffl.heads:
        np.testing.assert_array_equal(
            grad_cam(loaded, images, head), grad_cam(ffl, images, head)
        )
