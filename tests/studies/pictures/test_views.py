"""What heads make of images, and the groups of the paper's figures."""

import keras
import numpy as np
import pytest
from support import builders

from keras_ffl import InputError
from keras_ffl.studies.pictures import grad_cam, grad_cam_plus_plus
from keras_ffl.studies.pictures.views import (
    drawn,
    head_title,
    outcome_groups,
    shown_heads,
    view,
)


def test_a_view_is_what_the_head_predicts_and_where_it_looks():
    model = builders.moved(builders.METHODS["vanilla"]())
    images, _ = builders.data(4, seed=1)
    logits = keras.ops.convert_to_numpy(model.classifier("vanilla")(images))
    found = view(model, "vanilla", images, "alone")
    probabilities = np.exp(builders.log_softmax(logits))
    assert found.title == "alone"
    np.testing.assert_array_equal(found.predicted, logits.argmax(axis=1))
    np.testing.assert_allclose(
        found.probability, probabilities.max(axis=1), rtol=1e-5
    )
    np.testing.assert_array_equal(found.maps, grad_cam(model, images))
    other = view(model, "vanilla", images, classes=2, method=grad_cam_plus_plus)
    np.testing.assert_array_equal(
        other.maps, grad_cam_plus_plus(model, images, classes=2)
    )
    # The class that is explained need not be the one that is predicted.
    np.testing.assert_array_equal(other.predicted, found.predicted)


def test_heads_to_show():
    shown = {
        name: shown_heads(builders.METHODS[name]())
        for name in ("ffl", "dualnet", "one", "ensemble")
    }
    subs = ("sub_1", "sub_2")
    assert shown["ffl"] == ("fused", *subs)
    assert shown["dualnet"] == ("average", "fused", *subs)
    assert shown["one"] == ("teacher", *subs, "sub_3")
    assert shown["ensemble"] == ("ensemble", *subs)
    assert head_title("sub_12") == "sub-network 12"
    assert head_title("fused") == "fused"


RIGHT = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]], bool)
VANILLA = np.array([[1, 0, 0, 0, 1, 0]], bool)


def test_groups_of_the_paper():
    groups = outcome_groups(RIGHT, VANILLA)
    assert {key: value.tolist() for key, value in groups.items()} == {
        "all right": [0],
        "FFL right, vanilla wrong": [1],
        "all wrong": [5],
    }


def test_groups_of_a_run_alone():
    groups = outcome_groups(RIGHT, VANILLA[:0], ("fused", "another"))
    assert {key: value.tolist() for key, value in groups.items()} == {
        "all right": [0, 1],
        "fused right, another wrong": [2],
        "all wrong": [4, 5],
    }
    alone = outcome_groups(VANILLA, VANILLA[:0])
    assert list(alone) == ["all right", "all wrong"]


def test_groups_of_other_images():
    with pytest.raises(InputError, match="for the same images, got 6 and 5"):
        outcome_groups(RIGHT, VANILLA[:, :5])
    with pytest.raises(InputError, match="must be of shape \\(heads, n\\)"):
        outcome_groups(RIGHT[0], VANILLA)


def test_drawn_by_seed_alone():
    groups = {"a": np.arange(100), "b": np.array([7, 9]), "c": np.array([])}
    first = drawn(groups, 5, seed=1)
    assert list(first) == ["a", "b"] and len(set(first["a"])) == 5
    assert (np.diff(first["a"]) > 0).all() and first["b"].tolist() == [7, 9]
    again, other = (drawn(groups, 5, seed=seed)["a"] for seed in (1, 2))
    np.testing.assert_array_equal(first["a"], again)
    assert (first["a"] != other).any()
