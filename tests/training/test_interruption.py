"""Runs that are stopped in the middle of an epoch, and resumed."""

import contextlib
import errno
import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from keras_ffl import (
    Config,
    InputError,
    Unfinished,
    data,
    training,
    whole_files,
)
from keras_ffl.backend.devices import Devices
from keras_ffl.data import Share
from keras_ffl.folder_lock import FolderInUse, locked
from keras_ffl.training import interruption, single
from keras_ffl.training.interruption import Progress, StopRequest
from keras_ffl.training.results import writers
from keras_ffl.workdir import Workdir

# Five steps an epoch, the last one smaller, and validation in two steps.
QUICK = Config(
    method="vanilla",
    epochs=2,
    batch_size=64,
    eval_batch_size=50,
    lr_milestones=(1,),
    warmup_epochs=1.5,
    deterministic=True,
)


pytestmark = pytest.mark.usefixtures("few_digits")


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a run stop when it has looked so many times whether to."""

    def set_looks(looks):
        class Asked(StopRequest):
            looked = 0

            @property
            def reason(self):
                Asked.looked += 1
                return "the test said so" if Asked.looked > looks else None

        monkeypatch.setattr(single, "StopRequest", Asked)

    return set_looks


def state(path):
    model = Workdir(path).load_model()
    return [
        keras.ops.convert_to_numpy(variable)
        for variable in (*model.variables, *model.optimizer.variables)
    ]


def assert_same_runs(one, other):
    for ours, theirs in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = ((run / "history.csv").read_text() for run in (one, other))
    assert ours == theirs
    ours, theirs = (
        json.loads((run / "metrics.json").read_text()) for run in (one, other)
    )
    del ours["seconds_per_epoch"], theirs["seconds_per_epoch"]
    assert ours == theirs


# How often a run looks whether to stop: four times in the steps of an epoch,
# twice in its validation, and once at its end.
@pytest.mark.parametrize(
    ("method", "looks"),
    [
        ("vanilla", (0,)),
        ("ffl", (2, 8)),
        ("dualnet", (8,)),
        *(
            pytest.param(method, looks, marks=pytest.mark.slow)
            for method in ("ensemble", "one", "dml", "pcl")
            for looks in ((0, 4), (3, 7))
        ),
        *(
            pytest.param(method, looks, marks=pytest.mark.slow)
            for method, looks in (
                ("vanilla", (0, 3, 2)),
                ("dualnet", (1, 5, 0)),
            )
        ),
    ],
)
def test_stopped_and_resumed_is_the_uninterrupted_run(
    method, looks, tmp_path, stop_after
):
    check_stopped_and_resumed(
        QUICK.changed(method=method), looks, tmp_path, stop_after
    )


def test_a_student_goes_on_with_its_teacher(tmp_path, stop_after):
    teacher = QUICK.changed(epochs=1, lr_milestones=())
    training.train(teacher, tmp_path / "teacher", 0)
    student = QUICK.changed(method="kd", teacher=str(tmp_path / "teacher"))
    check_stopped_and_resumed(student, (6,), tmp_path, stop_after)


def check_stopped_and_resumed(config, looks, tmp_path, stop_after):
    training.train(config, tmp_path / "whole", 0)
    for number in looks:
        stop_after(number)
        with pytest.raises(Unfinished, match="stopped after .*since the test"):
            training.train(config, tmp_path / "cut", 0)
    stop_after(1000)
    training.train(config, tmp_path / "cut", 0)
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")
    left = [path.name for path in (tmp_path / "cut").rglob("*")]
    assert not [name for name in left if "step" in name or "history_" in name]


def test_what_is_left_of_an_epoch(tmp_path, stop_after):
    stop_after(2)
    with pytest.raises(Unfinished, match="after step 3 of epoch 1, since the"):
        training.train(QUICK, tmp_path, 0)
    (path,) = Workdir(tmp_path).progress_files(0)
    assert path.name == "epoch_0000_step_0000003.npz"
    # It looks after step 4, and then in the validation.
    stop_after(1)
    with pytest.raises(Unfinished, match="after step 4 of epoch 1"):
        training.train(QUICK, tmp_path, 0)
    # A damaged file is passed over.
    newest, before = Workdir(tmp_path).progress_files(0)
    assert before == path
    newest.write_bytes(b"damaged")
    stop_after(0)
    with pytest.raises(Unfinished, match="after step 4 of epoch 1"):
        training.train(QUICK, tmp_path, 0)


@pytest.fixture(scope="module")
def first_steps(tmp_path_factory):
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture
def stopped(first_steps, tmp_path, stop_after):
    """The folder of a run that was stopped after three steps."""
    if not first_steps.exists():
        stop_after(2)
        with pytest.raises(Unfinished, match="after step 3 of epoch 1"):
            training.train(QUICK, first_steps, 0)
    stop_after(1000)
    return shutil.copytree(first_steps, tmp_path / "run")


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_train", 160, "`num_train` is 160 there, got 3"),
        ("num_test", 7, "`num_test` is 7 there, got 100"),
        ("mean", [100.0], r"`mean` is \(100.0,\) there, got"),
        ("class_names", list("9876543210"), r"`class_names` is \('9'.*got"),
    ],
)
def test_other_data(stopped, name, value, message):
    path = stopped / "dataset.json"
    info = json.loads(path.read_text())
    assert info[name] != value
    path.write_text(json.dumps({**info, name: value}))
    before = contents(stopped)
    with pytest.raises(InputError, match=message):
        training.train(QUICK, stopped, 0)
    assert contents(stopped) == before


def test_devices_with_fewer_steps(stopped, monkeypatch):
    steps = data.steps_per_epoch
    monkeypatch.setattr(data, "steps_per_epoch", lambda *a: steps(*a) - 2)
    with pytest.raises(InputError, match="`strategy` .* got 3 steps on 1 dev"):
        training.train(QUICK, stopped, 0)


def test_a_state_without_its_configuration(stopped):
    (stopped / "config.json").unlink()
    with pytest.raises(InputError, match="checkpoints but no config.json"):
        training.train(QUICK.changed(learning_rate=0.01), stopped, 0)


def test_a_run_that_begins_while_another_waits(tmp_path, monkeypatch):
    other = QUICK.changed(learning_rate=0.01)

    @contextlib.contextmanager
    def waiting(folder):
        (folder / "config.json").write_text(json.dumps(other.to_dict()))
        yield

    monkeypatch.setattr(single, "locked", waiting)
    with pytest.raises(InputError, match="learning_rate is 0.01, requested"):
        training.train(QUICK, tmp_path, 0)


def test_time_that_is_too_short_for_a_validation(tmp_path, stop_after):
    stop_after(3)
    with pytest.raises(Unfinished, match="after step 4 of epoch 1"):
        training.train(QUICK, tmp_path, 0)
    stop_after(0)
    with pytest.raises(Unfinished, match="after epoch 1, since"):
        training.train(QUICK, tmp_path, 0)


def test_stopped_at_the_very_end(tmp_path, stop_after):
    config = QUICK.changed(epochs=1, lr_milestones=())
    stop_after(6)
    with pytest.raises(Unfinished, match="after epoch 1, since"):
        training.train(config, tmp_path, 0)
    assert training.train(config, tmp_path, 0)["epoch"] == 1


def test_damaged_results_are_found_before_anything_is_written(tmp_path):
    training.train(QUICK, tmp_path, 0)
    for name in ("history.csv", "metrics.json"):
        (tmp_path / name).write_text("damaged")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="metrics.json can't be read"):
        training.train(QUICK, tmp_path, 0)
    assert contents(tmp_path) == before


def test_the_best_checkpoint_survives_a_kill(tmp_path):
    training.train(QUICK.changed(epochs=1, lr_milestones=()), tmp_path, 0)
    folder = Workdir(tmp_path)
    model = folder.load_model()
    folder.save_best(model, 2)
    assert folder.best_epochs() == 2
    # Killed before the epoch was saved, it goes on after epoch 1.
    folder.cut_to(1)
    assert folder.best_epochs() == 1
    folder.save_best(model, 2)
    folder.save_checkpoint(model, 2, 1)
    folder.cut_to(1)
    assert folder.best_epochs() is None


def test_a_best_checkpoint_without_its_accuracy(tmp_path, caplog):
    folder = Workdir(tmp_path)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "best_0003.keras").touch()
    info = data.load("digits").info
    writers(training.build_model(QUICK, info), QUICK, folder)
    assert (
        "lacks the accuracy of the best checkpoint, of epoch 3" in caplog.text
    )


def test_saved_while_it_trains(tmp_path, monkeypatch):
    saved, save = [], Workdir.save_progress

    def save_progress(self, arrays, epochs, step):
        save(self, arrays, epochs, step)
        saved.append((epochs, step, len(self.progress_files(epochs))))

    monkeypatch.setattr(Workdir, "save_progress", save_progress)
    training.train(QUICK, tmp_path / "saved", 0, save_every_minutes=1e-9)
    assert saved == [
        (epoch, step, min(step, 2)) for epoch in (0, 1) for step in range(1, 5)
    ]
    training.train(QUICK, tmp_path / "whole", 0)
    assert_same_runs(tmp_path / "saved", tmp_path / "whole")


def a_dense_layer(units, dtype="float32"):
    layer = keras.layers.Dense(units, dtype=dtype)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile("sgd", "mse")
    model.built_optimizer = lambda: model.optimizer
    return model


def test_bfloat16_comes_back(tmp_path):
    folder, model = Workdir(tmp_path), a_dense_layer(3, "bfloat16")
    folder.checkpoints.mkdir()
    folder.save_progress(Progress.of(model, 0, 1).arrays, 0, 1)
    (path,) = folder.progress_files(0)
    kernel = model.layers[0].kernel
    before = np.array(kernel)
    kernel.assign(0 * kernel)
    Progress(0, 1, folder.read_arrays(path), path).restore(model)
    np.testing.assert_array_equal(kernel, before)


def test_another_model_is_refused():
    model = a_dense_layer
    progress = Progress.of(model(3), 0, 1)
    with pytest.raises(InputError, match="checkpoint .* belongs to another"):
        progress.restore(model(4))


# ----- signals and time ------------------------------------------------------


def test_a_signal_is_a_request():
    request = StopRequest()
    before = signal.getsignal(signal.SIGTERM)
    with request.listening():
        request.between_steps = True
        assert request.reason is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.reason == "SIGTERM was received"
        # The next one ends the process.
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_outside_of_training_stops_at_once():
    with pytest.raises(Unfinished, match="stopped, since SIGINT was received"):
        with StopRequest().listening():
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_where_errors_are_handled():
    with pytest.raises(Unfinished, match="stopped, since SIGTERM"):
        with StopRequest().listening():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception:
                pytest.fail("handled as an error")


def test_a_signal_in_a_callback_that_cannot_raise(capfd):
    class Dying:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            # Python delivers it at the next call.
            sum([1])

    request = StopRequest()
    with request.listening():
        Dying()
    assert "SIGTERM" in request.reason
    assert not capfd.readouterr().err


def test_time(monkeypatch):
    request = StopRequest(1)
    assert request.reason is None
    now = interruption.time.monotonic()
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now + 61)
    assert request.reason == "the time was up"
    with pytest.raises(InputError, match="`max_minutes` must be > 0, got -1"):
        StopRequest(-1)
    with pytest.raises(InputError, match="`save_every_minutes` must be > 0"):
        training.train(QUICK, "never", save_every_minutes=0)


# ----- folders that can no longer be written ---------------------------------


def test_a_folder_that_turns_read_only(tmp_path, monkeypatch):
    training.train(QUICK, tmp_path / "whole", 0)
    replace, cut = os.replace, tmp_path / "cut"

    def no_second_epoch(source, target):
        if target.name == "epoch_0002.keras":
            raise OSError(errno.EROFS, "Read-only file system", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(whole_files.os, "replace", no_second_epoch)
        with pytest.raises(OSError, match="Read-only .*epoch_0002.keras"):
            training.train(QUICK, cut, 0)
    assert Workdir(cut).load_checkpoint()[1] == 1
    training.train(QUICK, cut, 0)
    assert_same_runs(tmp_path / "whole", cut)


# ----- several processes ------------------------------------------------------


class TwoProcesses(Devices):
    """This process and a slower one that is never asked to stop."""

    process = Share(0, 1, 2)
    agreements = 0

    def sum_over_processes(self, values):
        self.agreements += 1
        # The time of the other one's steps is three times as long.
        return values * [1, 1, 4]


@pytest.mark.parametrize(
    ("seconds", "steps_apart"), [(0.001, 10), (0.2, 10), (1.0, 2), (60.0, 1)]
)
def test_processes_agree_soon(seconds, steps_apart, tmp_path, monkeypatch):
    now, devices, request = [0.0], TwoProcesses(), StopRequest()
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    callback = interruption.Interruption(
        request, Workdir(tmp_path), devices, np.zeros((200, 2), int)
    )
    agreed_at = []
    for step in range(100):
        now[0] += seconds
        before = devices.agreements
        callback.on_train_batch_end(step)
        agreed_at += [step] * (devices.agreements - before)
    # The mean step takes twice the time of this process.
    assert np.diff(agreed_at).tolist() == [steps_apart] * (len(agreed_at) - 1)
    assert steps_apart == 1 or steps_apart * 2 * seconds <= 5


# ----- one process -----------------------------------------------------------


def test_a_folder_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_ffl.folder_lock._PATIENCE", 0)
    with locked(tmp_path):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} on "):
            training.train(QUICK, tmp_path, 0)
    assert not Workdir(tmp_path).started
