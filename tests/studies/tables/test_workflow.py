"""From the arguments to the report, without training."""

import pytest
from support.finished_cells import finish_ffl, small_table

from keras_ffl.errors import InputError
from keras_ffl.studies.tables import TABLES, reproduce, run_cells
from keras_ffl.studies.tables.cells import store_failure


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(TABLES, "small", small_table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "7"}, "unknown table '7'; known tables: 1a, 1b, 2"),
        ({"runs": 0}, "`runs` must be at least 1, got 0"),
        ({"shard": "3/2"}, "`shard` must be k/n"),
        ({"epochs": 5}, "`epochs` needs `scale`"),
        ({"scale": True, "epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"jobs": 0}, "`jobs` must be at least 1, got 0"),
        ({"table": "digits", "data_dir": "d"}, "`data_dir` has no meaning"),
    ],
)
def test_bad_input(tmp_path, arguments, message):
    workdir = tmp_path / "runs"
    with pytest.raises(InputError, match=message):
        reproduce(**{"table": "2", "workdir": workdir, **arguments})
    assert not workdir.exists()


def test_workdir_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="file can't be written"):
        reproduce("2", file)


def test_report_only(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_cells, "run", None)
    cell = finish_ffl(tmp_path, 0, 24.0, (26.0, 27.0))
    assert reproduce("small", tmp_path, runs=2, report_only=True)
    text = (tmp_path / "table_small.md").read_text()
    assert "| FFL | 24.00 (1) | 25.00 ± 0.30 (10) |" in text
    assert "--table=small --runs=2 --workdir=RUNS`" in text
    assert str(tmp_path) not in text
    assert "1 of 4 cells finished" in capsys.readouterr().out
    assert cell.finished


def test_failed_cells_make_the_run_fail(small, tmp_path, monkeypatch, capsys):
    ran = []

    def run(cells, jobs, changed, imports):
        ran[:] = cells
        store_failure(cells[-1].path, "out of memory")
        changed()

    monkeypatch.setattr(run_cells, "run", run)
    assert not reproduce("2", tmp_path / "cifar", data_dir="there")
    assert {cell.config.data_dir for cell in ran} == {"there"}
    assert not reproduce("small", tmp_path, jobs=2)
    assert [cell.config.data_dir for cell in ran] == [None] * 2
    text = (tmp_path / "table_small.md").read_text()
    assert "failed: out of memory" in text
    assert f"failed: {ran[-1].name}: out of mem" in capsys.readouterr().out
    # The other machine's part has not failed.
    monkeypatch.setattr(run_cells, "run", lambda *_: None)
    assert reproduce("small", tmp_path, shard="1/2")


def test_scaled_report_has_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(run_cells, "run", None)
    reproduce("2", tmp_path, scale=True, epochs=7, report_only=True)
    text = (tmp_path / "table_2_scaled.md").read_text()
    assert "Scaled down" in text and "--scale --epochs=7" in text
    assert not (tmp_path / "table_2.md").exists()
