"""Heads' views of images, and the choice of images to show."""

import dataclasses

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.evaluation import outputs_of, probabilities
from keras_ffl.studies.pictures.grad_cam import grad_cam


@dataclasses.dataclass(frozen=True)
class View:
    """One head's view of some images.

    Attributes:
        title: Str, title of the head.
        maps: float32 array (n, h, w), where it looks.
        predicted: Integers (n,), the predicted classes.
        probability: Floats (n,) in [0, 1], their probabilities.
    """

    title: str
    maps: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray


def view(
    model, head, images, title=None, classes=None, layer=None, method=grad_cam
):
    """Computes the view of a head.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        images: Prepared images, a float array (n, h, w, c).
        title: Str, None for the head's name.
        classes: As in `keras_ffl.studies.pictures.grad_cam`.
        layer: As in `keras_ffl.studies.pictures.grad_cam`.
        method: `grad_cam` or `grad_cam_plus_plus`.

    Returns:
        `View`.

    Raises:
        InputError: As in `grad_cam`.
    """
    logits = outputs_of(model.classifier(head), images)
    found = probabilities(model, logits)
    return View(
        title or head,
        method(model, images, head, classes, layer),
        found.argmax(axis=-1),
        found.max(axis=-1),
    )


def head_title(head):
    """The printed name of a head.

    Args:
        head: Str, a head of a model.

    Returns:
        Str: "sub-network 1" for "sub_1", the name itself for all others.
    """
    kind, _, number = head.partition("_")
    return f"sub-network {number}" if kind == "sub" else head


def shown_heads(model):
    """The heads shown in pictures: the main one, then all trained ones."""
    return tuple(dict.fromkeys((model.primary_head, *model.trained_heads)))


ALL_RIGHT = "all right"
ALL_WRONG = "all wrong"


def outcome_groups(right, compared, names=("FFL", "vanilla")):
    """Groups images by which heads are right, as in the paper's figures.

    Args:
        right: Bool array (heads, n), whether the heads of one model are
            right.
        compared: Bool array (others, n), the same for compared heads; it may
            have no rows.
        names: Pair of names for the title of the second group: those that
            are right in it and those that are wrong.

    Returns:
        Dict from title to the indices of the images: all heads right; all of
        the model's right and all compared ones wrong (without compared heads,
        the first head right and another wrong); all wrong. Images with other
        outcomes are in no group.

    Raises:
        InputError: The arrays aren't for the same images.
    """
    right, compared = np.asarray(right, bool), np.asarray(compared, bool)
    if right.ndim != 2 or compared.ndim != 2 or not len(right):
        raise InputError(
            "`right` and `compared` must be of shape (heads, n), got "
            f"{right.shape} and {compared.shape}"
        )
    if right.shape[1] != compared.shape[1]:
        raise InputError(
            "`right` and `compared` must be for the same images, got "
            f"{right.shape[1]} and {compared.shape[1]}"
        )
    everything = np.concatenate([right, compared])
    groups = {ALL_RIGHT: everything.all(axis=0)}
    between = f"{names[0]} right, {names[1]} wrong"
    if len(compared):
        groups[between] = right.all(axis=0) & ~compared.any(axis=0)
    elif len(right) > 1:
        groups[between] = right[0] & ~right.all(axis=0)
    groups[ALL_WRONG] = ~everything.any(axis=0)
    return {title: np.flatnonzero(mask) for title, mask in groups.items()}


def drawn(groups, number, seed=0):
    """Draws images of each group at random, to avoid cherry-picking.

    Args:
        groups: Dict from title to integers, from `outcome_groups`.
        number: Int >= 1, images per group; all of a smaller group.
        seed: Int.

    Returns:
        Dict from title to sorted integers, without empty groups.
    """
    random = np.random.default_rng(seed)
    return {
        title: np.sort(random.permutation(indices)[:number])
        for title, indices in groups.items()
        if len(indices)
    }
