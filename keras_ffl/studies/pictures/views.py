"""What heads make of images, and which images to show."""

import dataclasses

import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.evaluation import outputs_of
from keras_ffl.studies.pictures.grad_cam import grad_cam


@dataclasses.dataclass(frozen=True)
class View:
    """What one head makes of some images.

    Attributes:
        title: Str, whose view it is.
        maps: float32 array (n, h, w), where it looks.
        predicted: Integers (n,), the class it predicts.
        probability: Floats (n,) in [0, 1], that of the predicted class.
    """

    title: str
    maps: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    def take(self, indices):
        """The view of some of the images."""
        return dataclasses.replace(
            self,
            maps=self.maps[indices],
            predicted=self.predicted[indices],
            probability=self.probability[indices],
        )


def view(
    model, head, images, title=None, classes=None, layer=None, method=grad_cam
):
    """The view of a head.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        images: Prepared images, a float array (n, h, w, c).
        title: Str, None for the head's name.
        classes: As of `keras_ffl.studies.pictures.grad_cam`, as are all that
            follow.
        layer: Str or None.
        method: `grad_cam` or `grad_cam_plus_plus`.

    Returns:
        `View`.

    Raises:
        InputError: As `grad_cam`.
    """
    logits = outputs_of(model.classifier(head), images)
    probabilities = ops.convert_to_numpy(
        ops.softmax(ops.cast(logits, "float32"))
    )
    return View(
        title or head,
        method(model, images, head, classes, layer),
        probabilities.argmax(axis=-1),
        probabilities.max(axis=-1),
    )


def head_title(head):
    """A head's name for people.

    Args:
        head: Str, a head of a model.

    Returns:
        Str: "sub-network 1" for "sub_1", the name itself for all others.
    """
    kind, _, number = head.partition("_")
    return f"sub-network {number}" if kind == "sub" else head


def shown_heads(model):
    """The heads that pictures show: the main one, then all trained ones."""
    return tuple(dict.fromkeys((model.primary_head, *model.trained_heads)))


ALL_RIGHT = "all right"
ALL_WRONG = "all wrong"


def outcome_groups(right, compared, names=("FFL", "vanilla")):
    """Sorts images by who is right, as the paper's figures do.

    Args:
        right: Bool array (heads, n), of the heads of one model.
        compared: Bool array (others, n), of those it is compared with; it
            may have no row.
        names: Pair of names for the title of the second group: of those that
            are right in it and of those that are wrong.

    Returns:
        Dict from title to the integers of the images: all heads right; the
        model's all right and those it is compared with all wrong, or without
        such ones the first head right and another wrong; all wrong. Images
        with other outcomes are in none.

    Raises:
        InputError: The arrays are not of the same images.
    """
    right, compared = np.asarray(right, bool), np.asarray(compared, bool)
    if right.ndim != 2 or compared.ndim != 2 or not len(right):
        raise InputError(
            "`right` and `compared` must be of shape (heads, n), got "
            f"{right.shape} and {compared.shape}"
        )
    if right.shape[1] != compared.shape[1]:
        raise InputError(
            "`right` and `compared` must be of the same images, got "
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
    """Images of each group, drawn at random so that nobody chooses them.

    Args:
        groups: Dict from title to integers, as of `outcome_groups`.
        number: Int >= 1, how many of each group; all where there are fewer.
        seed: Int.

    Returns:
        Dict from title to sorted integers, without the groups that are empty.
    """
    random = np.random.default_rng(seed)
    return {
        title: np.sort(random.permutation(indices)[:number])
        for title, indices in groups.items()
        if len(indices)
    }
