"""The figure of Grad-CAM maps."""

import numpy as np
import pytest
from PIL import Image

from keras_ffl.studies.pictures.cam_figure import (
    RIGHT,
    UNKNOWN,
    WRONG,
    caption,
    class_label,
    class_labels,
    plot_grad_cam,
)
from keras_ffl.studies.pictures.views import View

NAMES = ["tench, Tinca tinca", "chain_saw", "English springer"]
VIEW = View(
    "fused",
    # No heat, whose colours could be taken for those of the frames.
    np.zeros((3, 4, 4)),
    np.array([0, 1, 2]),
    np.array([0.914, 0.5, 1.0]),
)


def test_captions():
    labels = np.array([0, 2, -1])
    assert [caption(VIEW, i, labels, NAMES) for i in range(3)] == [
        ("tench", "✓ 91 %", RIGHT),
        ("chain saw", "✗ 50 %", WRONG),
        ("English springer", "100 %", UNKNOWN),
    ]
    assert caption(None, 1, labels, NAMES) == ("English springer", "", "black")
    assert caption(None, 2, labels, NAMES) == ("", "", "black")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("sea_anemone, anemone", "sea anemone"),
        ("a very long name of a class", "a very long…"),
        ("Donaudampfschifffahrt", "Donaudampfschif…"),
        ("hypercholesterolemia positive", "hypercholestero…"),
        ("7", "7"),
    ],
)
def test_class_labels_fit(name, label):
    assert class_label(name) == label and len(label) <= 16


def test_labels_of_several_classes_differ():
    names = ["Paris, France", "Rome", "Paris, Texas"]
    assert class_labels(names) == ["Paris #0", "Rome", "Paris #2"]


def share_of(colour, pixels):
    """The share of pixels that have a colour (#rrggbb), nearly."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(pixels - wanted).max(axis=-1) < 12).mean()


@pytest.mark.parametrize(
    ("labels", "shown"),
    [([0, 1, 2], {RIGHT}), ([0, 0, 2], {RIGHT, WRONG}), (None, {UNKNOWN})],
)
def test_frames_say_who_is_right(tmp_path, labels, shown):
    images = np.full((3, 8, 8, 1), 255, "uint8")
    groups = {"all right": np.array([0, 2]), "all wrong": np.array([1])}
    path = tmp_path / "figure.png"
    plot_grad_cam(images, [VIEW, VIEW], groups, NAMES, path, labels)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for colour in (RIGHT, WRONG, UNKNOWN):
        assert (share_of(colour, pixels) > 0.007) == (colour in shown), colour
    # Three columns and three rows: the cells are about square.
    assert 0.6 < pixels.shape[1] / pixels.shape[0] < 1.4


def test_names_are_no_formulas(tmp_path):
    images = np.zeros((1, 8, 8, 1), "uint8")
    names = ["$a_{$ b"] * len(NAMES)
    path = tmp_path / "figure.png"
    plot_grad_cam(images, [VIEW], {"$_{$": np.array([0])}, names, path)
    assert path.exists()
