"""Batches that no method can train on, and all ways to give them to a model.

    KERAS_BACKEND=jax python -m support.bad_batches quick METHOD ...

prints what every method says of some of them, as JSON. TensorFlow is needed for
`tf.data` only.
"""

import gc
import json
import sys

import keras
import numpy as np

from support import builders

try:
    import tensorflow as tf
except ImportError:
    tf = None

SAMPLES = 8
X, Y = builders.data(SAMPLES)
ROWS = np.eye(builders.CLASSES, dtype="float32")[Y]
ONES = np.ones(SAMPLES, "float32")


def with_nan(values):
    values = values.astype("float32")
    values[5] = np.nan
    return values


BY_HEAD = "must be one tensor, given once for all heads"
A_BATCH = r"must be `\(images, labels\)` or `\(images, labels, sample_weight\)`"
KINDS = {
    "a dict": ({"image": X, "label": Y}, f"{A_BATCH}, got {{'image': float32"),
    "no labels": ((X,), rf"{A_BATCH}, got \(float32"),
    "four parts": ((X, Y, ONES, ONES), rf"{A_BATCH}, got \(float32 .*, int64"),
    "labels by head": (
        (X, {"sub_1": Y, "sub_2": 2 - Y}),
        f"{BY_HEAD} .*'sub_1': int64",
    ),
    "a tuple of labels": ((X, (Y, 2 - Y)), rf"{BY_HEAD} .* got \(int64"),
    "weights by head": (
        (X, Y, {"sub_1": ONES, "sub_2": 2 * ONES}),
        f"`sample_weight` {BY_HEAD} .*'sub_1': float32",
    ),
    "too wide": ((X, np.eye(4)[Y]), r"rows \(n, 3\), got shape \(.*, 4\)"),
    "too high a rank": ((X, ROWS[:, None]), r"got shape \(.*, 1, 3\)"),
    "bools": ((X, ROWS > 0), "must hold integer labels, got dtype bool"),
    "weights by class": (
        (X, Y, ROWS),
        r"`sample_weight` must be a number for each sample .*, 3\)",
    ),
}
"""Structures, ranks, types and widths, with what is said of them."""

VALUES = {
    "multi-hot rows": (
        (X, np.maximum(ROWS, [1, 1, 0])),
        "every row must be non-negative with sum 1",
    ),
    "negative rows": (
        (X, ROWS * 3 + np.float32([-1, -1, 0])),
        "every row must be non-negative with sum 1",
    ),
    "rows with NaN": (
        (X, with_nan(ROWS)),
        "every row must be non-negative with sum 1",
    ),
    "labels from 1": ((X, Y + 1), r"labels must be .*in 0\.\.2"),
    "negative labels": ((X, Y - 1), r"labels must be .*in 0\.\.2"),
    "fractions": ((X, (Y / 2).astype("float32")), "must .*be integers|integer"),
    "labels of NaN": (
        (X, with_nan(Y)),
        "must .*be integers|integer",
    ),
    "weights of NaN": (
        (X, Y, with_nan(ONES)),
        "`sample_weight` must be finite",
    ),
}
"""Wrong values in batches of the right kind."""


class Batches(keras.utils.PyDataset):
    def __init__(self, *batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def generator(*batches):
    yield from batches


def tf_data(*batches):
    dataset = tf.data.Dataset.from_tensors(batches[0])
    for batch in batches[1:]:
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(batch))
    return dataset


DATA_SETS = {"py_dataset": Batches, "generator": generator}
if tf is not None:
    DATA_SETS["tf_data"] = tf_data


def of_arrays(model, batch):
    """Ways to give arrays: dict from name to function."""
    x, y, sample_weight = (*batch, None, None)[:3]
    given = {"y": y, "sample_weight": sample_weight}
    return {
        "fit": lambda: model.fit(x, **given, verbose=0),
        "split": lambda: model.fit(x, **given, validation_split=0.5, verbose=0),
        "validation": lambda: model.fit(X, Y, validation_data=batch, verbose=0),
        "evaluate": lambda: model.evaluate(x, **given, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, **given),
        "test_on_batch": lambda: model.test_on_batch(x, **given),
    }


def of_data_set(model, batches):
    """Ways to give a data set, made by a function; likewise."""
    return {
        "fit": lambda: model.fit(batches(), shuffle=False, verbose=0),
        "evaluate": lambda: model.evaluate(batches(), verbose=0),
        "validation": lambda: model.fit(
            X, Y, validation_data=batches(), verbose=0
        ),
    }


def complaint(call):
    """The type and message of the error that a call ends in."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "none", ""


def complaints(method, cases, data_sets=DATA_SETS):
    """What a method says: dict from case and way to type and message."""
    model = builders.compiled(builders.METHODS[method](), jit_compile="auto")
    found = {}
    for case in cases:
        gc.collect(1)  # the iterators of the case before
        batch, _ = (KINDS | VALUES)[case]
        for name, make in data_sets.items():
            ways = of_data_set(model, lambda make=make: make(batch))
            # Keras looks at the parts of a batch of these itself.
            if (case, name) != ("four parts", "py_dataset"):
                for way, call in ways.items():
                    found[f"{case}: {way} {name}"] = complaint(call)
        if isinstance(batch, tuple) and len(batch) in (2, 3):
            for way, call in of_arrays(model, batch).items():
                found[f"{case}: {way}"] = complaint(call)
    return found


def after_a_good_batch(method):
    """What a bad batch changes that the good one before it did not.

    Returns:
        Tuple of the type of the error, and of the largest difference to a
        model that was given the good batch alone.
    """
    bad, _ = VALUES["multi-hot rows"]
    weights = []
    for batches in ([(X, ROWS)], [(X, ROWS), bad]):
        keras.utils.set_random_seed(0)
        model = builders.compiled(
            builders.METHODS[method](), jit_compile="auto"
        )
        # What follows an epoch's end is not looked at.
        kind, _ = complaint(
            of_data_set(model, lambda: Batches(*batches))["fit"]
        )
        first, *rest = model.optimizer.variables
        assert first is model.optimizer.iterations
        moved = [w for w in model.weights if w is not model.epochs_trained]
        weights.append([keras.ops.convert_to_numpy(w) for w in moved + rest])
    # It can still be trained.
    model.fit(X, Y, verbose=0)
    return kind, float(builders.largest_difference(*weights))


QUICK = ("a dict", "multi-hot rows")

if __name__ == "__main__":
    cases = QUICK if sys.argv[1] == "quick" else KINDS | VALUES
    found = {
        method: [complaints(method, cases), after_a_good_batch(method)]
        for method in sys.argv[2:]
    }
    json.dump(found, sys.stdout)
