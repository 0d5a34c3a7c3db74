"""What a model holds after a call that ended in an error, on any backend."""

import keras
import numpy as np
import pytest
from support.builders import compiled, data, pair

from keras_ffl import EnsembleModel, InputError
from keras_ffl.optimizers import SGD


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C after the second batch of any call."""

    def on_train_batch_end(self, batch, logs=None):
        if batch:
            raise KeyboardInterrupt

    on_test_batch_end = on_predict_batch_end = on_train_batch_end


def model_and_data(**options):
    x, y = data()
    model = compiled(EnsembleModel(pair()), SGD(0.05, **options))
    model.fit(x, y, batch_size=4, verbose=0)
    return model, x, y


def bad_second_batch(x, y):
    yield x[:4], y[:4]
    yield x[:4], y[:4] + 7


def assert_same_weights(model, expected):
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_an_interrupted_call_keeps_the_weights(call):
    model, x, y = model_and_data()
    before = model.get_weights()
    given = (x, y) if call == "evaluate" else (x,)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, call)(
            *given, batch_size=4, verbose=0, callbacks=[Interrupt()]
        )
    assert_same_weights(model, before)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("call", ["test", "predict"])
def test_a_call_interrupted_within_a_step(call, monkeypatch):
    model, x, y = model_and_data()
    before = model.get_weights()

    def calls():
        model.evaluate(x, y, verbose=0)
        return model.predict(x, verbose=0)

    calls()
    step = getattr(model, f"{call}_function")

    def interrupted(*arguments):
        step(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, f"{call}_function", interrupted)
        with pytest.raises(KeyboardInterrupt):
            calls()
    assert_same_weights(model, before)
    calls()


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_batches_of_unknown_number_before_compile():
    x, _ = data()
    model = EnsembleModel(pair())
    found = model.predict(((each[None],) for each in x), verbose=0)
    np.testing.assert_allclose(
        found["sub_1"], model.predict(x, verbose=0)["sub_1"], rtol=1e-5
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_fit_goes_on_with_averages(error):
    model, x, y = model_and_data(use_ema=True, ema_momentum=0.5)
    with pytest.raises(error):
        if error is InputError:
            batches = bad_second_batch(x, y)
            model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
        else:
            model.fit(x, y, batch_size=4, verbose=0, callbacks=[Interrupt()])
    model.fit(x, y, batch_size=4, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_weights_set_after_an_error_are_kept():
    model, x, y = model_and_data()
    with pytest.raises(InputError):
        model.evaluate(bad_second_batch(x, y), verbose=0)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.optimizer.learning_rate = 0.0
    model.fit(x, y, verbose=0)
    assert all(not weight.numpy().any() for weight in model.trainable_variables)
