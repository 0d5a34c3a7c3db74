"""Labels and weights of every form that is taken, all to the same effect."""

import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
from support.bad_batches import ONES, ROWS, Batches, X, Y, generator
from support.builders import CLASSES, compiled, cross_entropy, ffl

from keras_ffl import InputError, data
from keras_ffl.optimizers import SGD

tf = pytest.importorskip("tensorflow")

SOFT = 0.7 * ROWS + 0.1
HEADS = ("fused", "sub_1", "sub_2")
WEIGHTS = np.linspace(-1, 3, len(Y))


def model_of(**options):
    return compiled(ffl(use_ekd=False, use_fkd=False), **options)


@pytest.fixture(scope="module")
def model():
    # A compiled step would keep to the rank of the first labels.
    return model_of(run_eagerly=True)


def evaluated(model, *data, **given):
    logs = model.evaluate(*data, **given, verbose=0, return_dict=True)
    return logs["loss"]


def loss(model, y, weights=1.0):
    """The loss in NumPy; `y`: rows."""
    logits = model.predict(X, verbose=0)
    return sum(
        (weights * cross_entropy(y, logits[head])).mean() for head in HEADS
    )


LABELS = {
    "a list": (Y.tolist(), ROWS),
    "a column": (Y[:, None], ROWS),
    "bytes": (Y.astype("uint8"), ROWS),
    "whole floats": (Y.astype("float64"), ROWS),
    "a tensor": (tf.constant(Y), ROWS),
    "rows": (ROWS, ROWS),
    "rows of integers": (ROWS.astype("int64"), ROWS),
    "a dict by head": (dict.fromkeys(HEADS, Y), ROWS),
    "a dict by some heads": ({"ensemble": Y}, ROWS),
    "a list by head": ([Y] * 3, ROWS),
    "soft rows": (SOFT, SOFT),
    "lists of soft rows": (SOFT.tolist(), SOFT),
    "half precision": (SOFT.astype("float16"), SOFT),
    "soft rows by head": (dict.fromkeys(HEADS, SOFT), SOFT),
}


@pytest.mark.parametrize(("labels", "rows"), LABELS.values(), ids=LABELS)
def test_arrays(labels, rows, model):
    expected = pytest.approx(loss(model, rows), rel=1e-3)
    assert evaluated(model, X, labels) == expected
    assert model.test_on_batch(X, labels)[0] == expected
    validation = model.fit(X, Y, verbose=0, validation_data=(X, labels))
    expected = pytest.approx(loss(model, rows), rel=1e-3)
    assert validation.history["val_loss"] == [expected]


@pytest.mark.parametrize("labels", ["a list", "a dict by head", "soft rows"])
def test_arrays_in_training(labels):
    labels, rows = LABELS[labels]
    fitted, stepped = (model_of() for _ in range(2))
    stepped.set_weights(fitted.get_weights())
    expected = fitted.fit(X, np.float32(rows), verbose=0).history["loss"]
    assert expected == pytest.approx(
        stepped.train_on_batch(X, labels)[:1], rel=1e-5
    )
    stepped.set_weights(fitted.get_weights())
    expected = fitted.train_on_batch(X, np.float32(rows))[:1]
    history = stepped.fit(X, labels, verbose=0).history
    assert history["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (WEIGHTS, WEIGHTS),
        (WEIGHTS[:, None], WEIGHTS),
        (WEIGHTS.tolist(), WEIGHTS),
        (np.arange(8), np.arange(8)),
        (Y > 0, Y > 0),
        (dict.fromkeys(HEADS, WEIGHTS), WEIGHTS),
        ([WEIGHTS] * 3, WEIGHTS),
    ],
    ids=["n", "column", "list", "integers", "bools", "dict", "by head"],
)
def test_weights(weights, expected, model):
    expected = pytest.approx(loss(model, ROWS, expected), rel=1e-3)
    assert evaluated(model, X, Y, sample_weight=weights) == expected
    assert model.test_on_batch(X, Y, weights)[0] == expected


DATA_SETS = {
    "pairs in a list": lambda: Batches([X, Y]),
    "no weights": lambda: generator((X, Y, None)),
    "bfloat16": lambda: tf.data.Dataset.from_tensors(
        (X, tf.cast(SOFT, "bfloat16"))
    ),
    "soft": lambda: tf.data.Dataset.from_tensors((X, SOFT)),
    "unknown sizes": lambda: tf.data.Dataset.from_generator(
        lambda: generator((X, SOFT)),
        output_signature=(
            tf.TensorSpec((None, *X.shape[1:])),
            tf.TensorSpec((None, None)),
        ),
    ),
    "weights": lambda: tf.data.Dataset.from_tensors((X, Y, WEIGHTS)),
    "bool weights": lambda: tf.data.Dataset.from_tensors((X, Y, ONES > 0)),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets(name):
    model, make = model_of(), DATA_SETS[name]
    rows = SOFT if name in ("bfloat16", "soft", "unknown sizes") else ROWS
    weights = WEIGHTS if name == "weights" else 1.0
    expected = pytest.approx(loss(model, rows, weights), rel=1e-2)
    assert evaluated(model, make(), steps=1) == expected
    model.fit(make(), steps_per_epoch=1, verbose=0, shuffle=False)


def test_weights_of_two_shapes():
    model = model_of()
    weights = np.linspace(0, 2, len(Y), dtype="float32")
    expected = model.test_on_batch(X, Y, weights)
    assert model.test_on_batch(X, Y, weights[:, np.newaxis]) == expected
    columns = tf.data.Dataset.from_tensors((X, Y, weights[:, np.newaxis]))
    with pytest.raises(InputError, match="`sample_weight` must .* same in all"):
        model.evaluate(columns, verbose=0)


def test_class_weights_of_labels_by_head():
    model, same = (model_of(run_eagerly=True) for _ in range(2))
    same.set_weights(model.get_weights())
    factors = {label: 1.0 + label for label in range(CLASSES)}
    weights = np.array([factors[y] for y in Y])
    expected = pytest.approx(same.train_on_batch(X, Y, weights), rel=1e-5)
    labels = dict.fromkeys(HEADS, Y)
    assert model.train_on_batch(X, labels, class_weight=factors) == expected


@pytest.fixture
def drawn(monkeypatch):
    """The epochs of which plans are drawn."""
    epochs = []

    def plan(*arguments, plan=data.batches.plan_of_epoch):
        epochs.append(arguments[-1])
        return plan(*arguments)

    monkeypatch.setattr(data.batches, "plan_of_epoch", plan)
    return epochs


def batches_of_the_package():
    pixels = np.clip(60 * X + 120, 0, 255).astype("uint8")
    dataset = data.from_arrays(pixels, Y, pixels, Y, num_classes=CLASSES)
    return dataset.training_batches(len(Y) - 1, seed=0)


def test_batches_of_the_package_after_an_interruption(drawn, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, *more):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        model.fit(
            batches_of_the_package(),
            epochs=4,
            verbose=0,
            callbacks=[backup, *more],
        )

    model, whole, again = (model_of() for _ in range(3))
    whole.set_weights(model.get_weights())
    whole.fit(batches_of_the_package(), epochs=4, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Stop())
    drawn.clear()
    fit(again)
    assert set(drawn) >= {2, 3}
    for ours, theirs in zip(again.get_weights(), whole.get_weights()):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    batches = batches_of_the_package()
    again.fit(batches, initial_epoch=4, epochs=5, verbose=0)
    assert int(again.epochs_trained.numpy()) == 5


def test_batches_of_the_package_can_be_pickled():
    batches = batches_of_the_package()
    again = pickle.loads(pickle.dumps(batches))
    for ours, theirs in zip(batches[1], again[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_is_left_of_batches_of_the_package():
    model, batches = model_of(), batches_of_the_package()
    model.fit(batches, verbose=0)
    model.evaluate(batches, verbose=0)
    left = [weakref.ref(model), weakref.ref(batches.examples.x)]
    del model, batches
    gc.collect()
    assert [each() for each in left] == [None, None]


def test_batches_of_the_package_differ_by_epoch(drawn):
    batches = batches_of_the_package()
    model = model_of()
    model.fit(batches, epochs=3, verbose=0)
    assert sorted(set(drawn)) == [0, 1, 2]
    assert int(model.optimizer.iterations.numpy()) == 3 * 2
    drawn.clear()
    model.fit(batches, initial_epoch=3, epochs=5, verbose=0)
    assert sorted(set(drawn)) == [3, 4]
    assert int(model.optimizer.iterations.numpy()) == 5 * 2
    message = "`steps_per_epoch` must be at most 2, .* got 3"
    with pytest.raises(InputError, match=message):
        model.fit(batches, epochs=2, steps_per_epoch=3, verbose=0)
    for name, given in (("y", Y), ("sample_weight", WEIGHTS)):
        with pytest.raises(
            InputError, match=f"`{name}` must be None for Batches"
        ):
            model.fit(batches, **{name: given})
    model.compile(SGD(0.1), steps_per_execution=2)
    model.fit(batches, initial_epoch=5, epochs=6, verbose=0)
    with pytest.raises(InputError, match="`steps_per_execution` must divide"):
        model.fit(batches, epochs=2, steps_per_epoch=1, verbose=0)
