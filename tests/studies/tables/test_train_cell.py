"""What a cell's process does, called directly."""

import os
import signal

from support.finished_cells import VANILLA

from keras_ffl import training
from keras_ffl.errors import InputError, Unfinished
from keras_ffl.folder_lock import locked
from keras_ffl.studies.tables import train_cell
from keras_ffl.studies.tables.cells import (
    BUSY,
    FAILED,
    STOPPED,
    Cell,
    store_failure,
)


def test_failure_is_stored_in_one_line(tmp_path, monkeypatch, capsys):
    cell = Cell(VANILLA, tmp_path)
    for error, reason in (
        (InputError("the folder\nis gone"), "the folder is gone"),
        (RuntimeError("no memory\ndetails"), "RuntimeError: no memory"),
        (ValueError(), "ValueError:"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(training, "train", fail)
        assert train_cell.train(cell) == FAILED
        assert cell.failure() == reason
        assert "Traceback" in capsys.readouterr().err


def test_success_removes_the_failure(tmp_path, monkeypatch):
    cell = Cell(VANILLA, tmp_path)
    store_failure(cell.path, "no memory")
    trained = []
    monkeypatch.setattr(
        training, "train", lambda *args, **_: trained.append(args)
    )
    assert train_cell.train(cell) == 0
    assert trained == [(VANILLA, cell.path)]
    assert cell.failure() is None


def test_two_processes_do_not_train_one_cell(tmp_path, monkeypatch):
    cell = Cell(VANILLA, tmp_path)
    cell.path.mkdir()
    monkeypatch.setattr("keras_ffl.folder_lock._PATIENCE", 0)
    with locked(cell.path):
        assert train_cell.train(cell) == BUSY
    assert cell.failure() is None


def test_a_cell_that_was_stopped_has_not_failed(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Unfinished("stopped")

    monkeypatch.setattr(training, "train", stopped)
    cell = Cell(VANILLA, tmp_path)
    assert train_cell.train(cell) == STOPPED
    assert cell.failure() is None


def test_it_follows_its_parent(monkeypatch):
    # Asked to stop while nobody listens to signals, then left alone.
    sent, handlers = [], iter([signal.SIG_DFL, signal.SIG_DFL, print])
    given = iter([b".", b""])
    monkeypatch.setattr(os, "read", lambda *_: next(given))
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    monkeypatch.setattr(os, "_exit", sent.append)
    monkeypatch.setattr(signal, "getsignal", lambda _: next(handlers))
    train_cell._follow_parent()
    assert sent == [signal.SIGTERM, 1]
