"""A classifier in two parts is the classifier."""

import keras
import numpy as np
import pytest

from keras_ffl import InputError
from keras_ffl.methods import KnowledgeDistillationModel, OneModel
from keras_ffl.models import build, build_branches
from keras_ffl.models.cutting import CutClassifier
from keras_ffl.models.graph import unrolled

SHAPE = (8, 8, 1)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")


def twice():
    """A nested network that sees an image and its mirror image."""
    inner = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        ],
        name="inner",
    )
    image = keras.Input(SHAPE)
    both = [inner(image), inner(keras.ops.flip(image, axis=2))]
    total = keras.layers.Add(name="total")(both)
    pooled = keras.layers.GlobalAveragePooling2D()(total)
    return keras.Model(image, keras.layers.Dense(3)(pooled), name="twice")


def test_both_parts_together_are_the_classifier(run, images):
    model = OneModel(build_branches("resnet8", 2, 5, SHAPE), 0)
    classifier = model.classifier("teacher")
    maps = [model.feature_maps()[f"sub_{k}"] for k in (1, 2)]
    cut = CutClassifier(classifier, maps)
    values = cut.maps(images)
    for k, value in enumerate(values, start=1):
        expected = run(model.feature_extractor(f"sub_{k}"), images)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    logits = run(classifier, images)
    np.testing.assert_allclose(
        cut.logits(images, values), logits, rtol=1e-5, atol=1e-6
    )
    # The second part computes from the maps, whatever they are.
    other = cut.logits(images, [values[0], 2 * values[1]])
    assert np.abs(other - logits).max() > 1e-3


def test_random_layers_draw_nothing(run, images):
    image = keras.Input(SHAPE)
    x = keras.layers.RandomTranslation(0.5, 0.5)(image)
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    model = keras.Model(image, logits)
    cut = CutClassifier(model, layer="conv")
    np.testing.assert_allclose(
        cut.logits(images, cut.maps(images)),
        run(model, images),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_second_part_looks_at_nothing_before_the_maps(images):
    network = build("resnet8", 5, SHAPE)
    model = keras.Model(network.input, network.output["logits"])
    cut = CutClassifier(model, [network.output["features"]])
    maps = cut.maps(images)
    np.testing.assert_array_equal(
        cut.logits(None, maps), cut.logits(images, maps)
    )


def test_a_nested_model_that_is_called_twice(run, images):
    model = twice()
    calls, tensors = unrolled(model)
    paths = [call.path for call in calls]
    assert paths.count("inner/conv") == 2 and "total" in paths
    assert id(model.outputs[0]) in tensors
    cut = CutClassifier(model, layer="total")
    np.testing.assert_allclose(
        cut.logits(images, cut.maps(images)), run(model, images), rtol=1e-5
    )
    with pytest.raises(InputError, match="'conv' is called 2 times in 'twic"):
        CutClassifier(model, layer="conv")


class Doubled(keras.Model):
    """A functional model that does more than run its graph."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training, mask)


def test_a_nested_model_with_a_call_of_its_own(run, images):
    image = keras.Input(SHAPE)
    inner = Doubled(image, keras.layers.Conv2D(4, 3, name="conv")(image))
    outer = keras.Input(SHAPE)
    pooled = keras.layers.GlobalAveragePooling2D()(inner(outer))
    model = keras.Model(outer, keras.layers.Dense(3)(pooled))
    cut = CutClassifier(model, layer=inner.name)
    (found,) = cut.maps(images)
    np.testing.assert_allclose(found, run(inner, images), rtol=1e-5)
    np.testing.assert_allclose(
        cut.logits(images, [found]), run(model, images), rtol=1e-5
    )
    # What is within can't be cut at: the model does not pass it on as it is.
    with pytest.raises(InputError, match="there is no layer 'conv'"):
        CutClassifier(model, layer="conv")


def test_the_last_map_that_everything_passes(run, images):
    network = build("resnet8", 5, SHAPE)
    model = keras.Model(network.input, network.output["logits"])
    (found,) = CutClassifier(model).maps(images)
    np.testing.assert_allclose(
        found, run(network, images)["features"], rtol=1e-5
    )
    # Inside the frozen copy of a teacher.
    method = KnowledgeDistillationModel(build("resnet8", 5, SHAPE), model)
    (found,) = CutClassifier(method.classifier("teacher")).maps(images)
    np.testing.assert_allclose(
        found, run(network, images)["features"], rtol=1e-5
    )


def test_no_map_is_passed_by_everything():
    image = keras.Input(SHAPE)
    branches = [
        keras.layers.Conv2D(2, 3, name=f"conv_{k}")(image) for k in (1, 2)
    ]
    pooled = [keras.layers.GlobalAveragePooling2D()(x) for x in branches]
    model = keras.Model(image, keras.layers.Add()(pooled), name="two")
    message = "`layer` must be given for 'two', .* are conv_., conv_."
    with pytest.raises(InputError, match=message):
        CutClassifier(model)
    CutClassifier(model, layer="conv_2")
