"""Holds out training images for model selection."""

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.labels import classes_of
from keras_ffl.number_checks import check_number


def split_holdout(dataset, fraction, seed=0):
    """Holds out a part of the training images for model selection.

    Both parts keep the order and the proportions of the classes. Mean and
    standard deviation stay unchanged.

    Args:
        dataset: `Dataset` or `PhotoDataset`.
        fraction: Float in [0, 1), the part of the training images to hold out.
        seed: Int, determines which images are held out.

    Returns:
        Tuple `(dataset, held_out)` of two data sets that both train on the
        remaining images. The held-out ones are the test split of `held_out`,
        which is None for `fraction=0`.

    Raises:
        InputError: `fraction` is outside [0, 1) or leaves one part without
            some class.
    """
    if not 0 <= check_number("fraction", fraction) < 1:
        raise InputError(f"`holdout` must be in [0, 1), got {fraction}")
    if fraction == 0:
        return dataset, None
    from sklearn.model_selection import train_test_split

    y = dataset.y_train
    try:
        kept, held_out = train_test_split(
            np.arange(len(y)),
            test_size=float(fraction),
            random_state=seed,
            stratify=classes_of(y),
        )
    except ValueError as error:
        raise InputError(
            f"`holdout`: {fraction} of {len(y)} images of "
            f"{dataset.info.num_classes} classes can't be held out by class: "
            f"{error}"
        ) from error
    kept.sort()
    held_out.sort()
    return dataset.divided(kept, held_out)
