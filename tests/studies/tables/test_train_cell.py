"""What a cell's process does, called directly."""

import dataclasses

from finished_cells import VANILLA

from keras_ffl import training
from keras_ffl.errors import InputError
from keras_ffl.studies.tables import train_cell
from keras_ffl.studies.tables.cells import BUSY, FAILED, Cell, store_failure


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
    other = Cell(dataclasses.replace(VANILLA, seed=1), tmp_path)
    monkeypatch.setattr(training, "train", lambda *_, **__: None)
    with train_cell.lock(cell.path) as held:
        assert held
        with train_cell.lock(cell.path, patience=0) as again:
            assert not again
        monkeypatch.setattr(train_cell.time, "monotonic", iter([0, 9]).__next__)
        assert train_cell.train(cell) == BUSY
        monkeypatch.undo()
        monkeypatch.setattr(training, "train", lambda *_, **__: None)
        assert train_cell.train(other) == 0
    assert train_cell.train(cell) == 0
