"""Linear classifiers on frozen features."""

import numpy as np

from keras_ffl import data
from keras_ffl.studies.analysis.threads import one_blas_thread

# Inverse strengths of the probe's L2 regularisation to choose from.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD_OUT = 0.2
# Maximum iterations of the solver, which needs some hundreds.
_ITERATIONS = 5000


def pooled_features(extractor, images, info):
    """Averages feature maps and tokens over their positions.

    Args:
        extractor: `keras.Model` from images to a map (batch, h, w, C),
            tokens (batch, tokens, C) or a vector (batch, C), run in inference
            mode.
        images: uint8 images (n, height, width, channels).
        info: `keras_ffl.data.DatasetInfo` that normalises them.

    Returns:
        float32 array (n, C).
    """
    pooled = []
    # In parts, because all maps together may not fit into memory.
    for start in range(0, len(images), 1000):
        x = data.normalize(images[start : start + 1000], info)
        maps = extractor.predict(x, batch_size=100, verbose=0)
        maps = np.asarray(maps, "float32")
        pooled.append(maps.mean(axis=tuple(range(1, maps.ndim - 1))))
    return np.concatenate(pooled)


def linear_probe(x_train, y_train, x_test, y_test, seed=0):
    """Fits a linear classifier on frozen features.

    Each feature is standardised by its mean and deviation on the training
    split. Multinomial logistic regression with an L2 penalty (scikit-learn's,
    solver L-BFGS) is fitted. Its C is the value in `GRID` with the lowest error
    on a stratified held-out fifth of the training split (the smallest of
    equals), and it is refitted on the whole training split.

    Args:
        x_train: Float array (n, C).
        y_train: Integer labels (n,).
        x_test: Float array (m, C).
        y_test: Integer labels (m,).
        seed: Int, seed of the held-out part.

    Returns:
        Dict of `top1_error` on the test split and `held_out_error`, both in
        percent, and `C`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = LogisticRegression(max_iter=_ITERATIONS)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), probe),
        {"logisticregression__C": GRID},
        cv=StratifiedShuffleSplit(1, test_size=HELD_OUT, random_state=seed),
        error_score="raise",
    )
    with one_blas_thread():
        search.fit(x_train, y_train)
        wrong = search.predict(x_test) != y_test
    return {
        "top1_error": 100.0 * float(np.mean(wrong)),
        "held_out_error": 100.0 * (1.0 - float(search.best_score_)),
        "C": search.best_params_["logisticregression__C"],
    }


def resplit_errors(x, y, test_size, splits):
    """Computes the probe's errors on random stratified splits of all images.

    They average out the choice of test images. The splits are the same for
    every network.

    Args:
        x: Float array (n, C), features of both splits.
        y: Integer labels (n,).
        test_size: Int, images in each test split.
        splits: Int >= 0, number of splits.

    Returns:
        List of errors in percent, one per split.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    if not splits:
        return []
    draw = StratifiedShuffleSplit(splits, test_size=test_size, random_state=0)
    return [
        linear_probe(x[train], y[train], x[test], y[test])["top1_error"]
        for train, test in draw.split(x, y)
    ]
