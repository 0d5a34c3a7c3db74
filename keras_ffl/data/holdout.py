"""A part of the training images for choosing things by it."""

import numpy as np

from keras_ffl.errors import InputError


def split_holdout(dataset, fraction, seed=0):
    """Takes a part out of the training images, for choosing things by it.

    The classes keep their shares in both parts, and both keep their order.
    Mean and standard deviation stay as they are.

    Args:
        dataset: `Dataset` or `PhotoDataset`.
        fraction: Float in [0, 1), the part of the training images to take.
        seed: Integer, decides which images are taken.

    Returns:
        Tuple `(dataset, held_out)` of two data sets. The training split of
        both lacks the part, which is the test split of `held_out`; at
        `fraction=0` that is `None`.

    Raises:
        InputError: If `fraction` is outside [0, 1) or leaves a class out of
            one of the parts.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"holdout: expected 0 <= holdout < 1, got {fraction}")
    if fraction == 0:
        return dataset, None
    from sklearn.model_selection import train_test_split

    y = dataset.y_train
    try:
        kept, held_out = train_test_split(
            np.arange(len(y)),
            test_size=float(fraction),
            random_state=seed,
            stratify=y if y.ndim == 1 else y.argmax(axis=1),
        )
    except ValueError as error:
        raise InputError(
            f"holdout: {fraction} of {len(y)} images of "
            f"{dataset.info.num_classes} classes can't be held out by class: "
            f"{error}"
        ) from error
    kept.sort()
    held_out.sort()
    return dataset.divided(kept, held_out)
