"""The lines that docs/methods.md gives to copy a method."""

import keras
import numpy as np
import pytest
from support.builders import METHODS, compiled, data, largest_difference, moved

from keras_ffl.methods import TrainingMethod


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_trains_as_its_model_does(method):
    x, y = data()
    model = moved(compiled(METHODS[method](), run_eagerly=True))
    model.fit(x, y, verbose=0)

    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())

    assert type(copy) is type(model)
    compiled(copy, run_eagerly=True)
    compiled(model, run_eagerly=True)
    before = model.get_weights()
    logs = copy.train_on_batch(x, y, return_dict=True)
    assert largest_difference(model.get_weights(), before) == 0
    assert logs == pytest.approx(
        model.train_on_batch(x, y, return_dict=True), rel=1e-5
    )
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_what_keras_clones_is_no_method(method):
    clone = keras.models.clone_model(METHODS[method]())
    assert not isinstance(clone, TrainingMethod)
