"""Labels of two kinds in one model, and batches of several steps."""

import dataclasses

import keras
import numpy as np
import pytest
from support.builders import CLASSES, compiled, data, ffl

from keras_ffl import InputError
from keras_ffl.data import Batches, DatasetInfo, evaluation_batches


@pytest.mark.parametrize("metrics", [["accuracy"], None])
def test_integers_to_validate_training_on_rows(metrics):
    x, y = data()
    rows = np.eye(CLASSES, dtype="float32")[y]
    model = compiled(ffl(), metrics=metrics)
    history = model.fit(x, rows, validation_data=(x, y), verbose=0).history
    expected = model.evaluate(x, rows, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert history[f"val_{name}"] == pytest.approx([value], rel=1e-5), name


def test_rows_to_validate_training_on_integers():
    x, y = data()
    validation = x, np.eye(CLASSES, dtype="float32")[y]
    model = compiled(ffl(), metrics=["accuracy"])
    with pytest.raises(InputError, match="`y` must be integers .* got rows"):
        model.fit(x, y, validation_data=validation, verbose=0)
    # Without metrics nothing depends on the form.
    compiled(ffl()).fit(x, y, validation_data=validation, verbose=0)


def batches():
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (11, 4, 4, 2)).astype("uint8")
    info = DatasetInfo(
        "toy", CLASSES, (4, 4, 2), tuple("abc"), (120.0, 110), (60.0, 61), True
    )
    return evaluation_batches(x, np.arange(11) % CLASSES, info, 2)


def test_evaluation_of_batches_of_several_steps_per_call():
    single = batches()
    options = dataclasses.replace(single.options, steps_per_call=3)
    several = Batches(single.examples, single.info, options)
    model = compiled(ffl(), metrics=["accuracy"])
    found, expected = (
        model.evaluate(each, verbose=0, return_dict=True)
        for each in (several, single)
    )
    assert found == pytest.approx(expected)
    predicted = model.predict(several, verbose=0)
    assert len(predicted["fused"]) == 11


def test_class_weight_of_batches():
    model = compiled(ffl())
    class_weight = dict.fromkeys(range(CLASSES), 0.0)
    if keras.backend.backend() == "jax":
        with pytest.raises(InputError, match="`class_weight` must be None"):
            model.fit(batches(), class_weight=class_weight)
        return
    history = model.fit(batches(), class_weight=class_weight, verbose=0).history
    assert history["loss"] == [0.0]
