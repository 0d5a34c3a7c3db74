"""The ramp-up through `fit`: by epoch, going on, saved and restored."""

import keras
import numpy as np
import pytest
from support.builders import compiled, data, ffl

# Weights of epochs 0 to 4 for R = 4.
GOLDEN = [np.exp(-5 * (1 - min(e, 4) / 4) ** 2) for e in range(8)]


def eager(rampup_epochs=4, **kwargs):
    """Without tracing, which takes most of the time of so small a model."""
    model = ffl(rampup_epochs=rampup_epochs)
    return compiled(model, run_eagerly=True, **kwargs)


def fit(model, epochs, **kwargs):
    x, y = data()
    history = model.fit(x, y, epochs=epochs, verbose=0, shuffle=False, **kwargs)
    return history.history["distillation_weight"]


def done(model):
    return int(model.epochs_trained.numpy())


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_weight_by_epoch(run_eagerly):
    model = compiled(ffl(rampup_epochs=4), run_eagerly=run_eagerly)
    x, y = data()
    history = model.fit(
        x, y, epochs=6, verbose=0, validation_data=(x, y)
    ).history
    assert history["distillation_weight"] == pytest.approx(GOLDEN[:6], rel=1e-6)
    # Evaluation does not ramp.
    assert history["val_distillation_weight"] == [1.0] * 6
    assert done(model) == 6


def test_without_fit_the_epochs_are_counted_by_hand():
    model = eager()
    for expected in GOLDEN[:5]:
        for _ in range(2):
            logs = model.train_on_batch(*data(), return_dict=True)
            assert logs["distillation_weight"] == pytest.approx(expected)
        model.epochs_trained.assign_add(1)
        model.reset_metrics()


def test_the_loss_that_is_logged_is_weighed():
    model = eager(rampup_epochs=80, optimizer=keras.optimizers.SGD(0.0))
    x, y = data()
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    for epoch, weight in enumerate((0.0067379, 0.0076291)):
        supervised = sum(
            history[f"ce_{head}"][epoch] for head in ("fused", "sub_1", "sub_2")
        )
        distilled = history["ekd"][epoch] + history["fkd"][epoch]
        assert history["loss"][epoch] == pytest.approx(
            supervised + weight * distilled, rel=1e-6
        )
        assert distilled > 1e-3


def test_no_rampup():
    assert fit(eager(rampup_epochs=0), 3) == [1.0] * 3


def test_a_second_fit_goes_on():
    model = eager()
    weights = [*fit(model, 2), *fit(model, 3)]
    assert weights == pytest.approx(GOLDEN[:5], rel=1e-6)
    assert done(model) == 5


def test_initial_epoch():
    model = eager()
    weights = fit(model, 4, initial_epoch=2)
    assert weights == pytest.approx(GOLDEN[2:4], rel=1e-6)
    assert done(model) == 4
    # And as Keras means it, together with a first part.
    weights = fit(model, 6, initial_epoch=4)
    assert weights == pytest.approx(GOLDEN[4:6], rel=1e-6)


def test_weights_alone_carry_the_epoch(tmp_path):
    model = eager()
    fit(model, 2)
    model.save_weights(tmp_path / "model.weights.h5")
    other = eager()
    other.load_weights(tmp_path / "model.weights.h5")
    assert done(other) == 2


def test_checkpoints_count_the_finished_epoch(tmp_path):
    path = str(tmp_path / "{epoch}.keras")
    fit(eager(), 2, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    for epoch in (1, 2):
        assert done(keras.saving.load_model(path.format(epoch=epoch))) == epoch


class _Stop(keras.callbacks.Callback):
    """Dies like a process that is killed, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch:
            raise KeyboardInterrupt


def test_backup_and_restore(tmp_path):
    whole = eager()
    expected = fit(whole, 5)
    first = eager()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        fit(first, 5, callbacks=[backup, _Stop(epoch=2)])
    second = eager()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    assert fit(second, 5, callbacks=[backup]) == expected[2:]
    assert done(second) == 5


@pytest.mark.parametrize("kind", ["none", "one", "list", "callback list"])
def test_every_way_to_pass_callbacks(kind):
    model = eager()
    seen = keras.callbacks.LambdaCallback()
    callbacks = {
        "none": None,
        "one": seen,
        "list": [seen],
        "callback list": keras.callbacks.CallbackList(
            [seen], add_history=True, model=model
        ),
    }[kind]
    for epochs in (2, 1):
        model.fit(*data(), epochs=epochs, verbose=0, callbacks=callbacks)
    assert done(model) == 3
    if kind != "none":
        assert seen.model is model


def test_the_users_list_of_callbacks_stays_as_it_is():
    callbacks = [keras.callbacks.LambdaCallback()]
    fit(eager(), 1, callbacks=callbacks)
    assert len(callbacks) == 1


def test_compiling_again_goes_on():
    model = eager()
    fit(model, 2)
    compiled(model, run_eagerly=True)
    assert fit(model, 1) == pytest.approx(GOLDEN[2:3], rel=1e-6)


def test_the_epoch_is_no_parameter():
    model = ffl(rampup_epochs=3)
    assert model.epochs_trained.dtype == "int32"
    ids = [id(variable) for variable in model.trainable_variables]
    assert id(model.epochs_trained) not in ids
    assert id(model.epochs_trained) in map(id, model.variables)
