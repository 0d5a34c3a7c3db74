"""Statistics and report, from folders that look like finished runs."""

import csv
import dataclasses
import io
import math

import numpy as np
import pytest
from support.finished_cells import finish, finish_ffl, head, small_table

from keras_ffl.errors import InputError
from keras_ffl.studies.tables import Entry, PrintedError, Table, table_files
from keras_ffl.studies.tables.cells import cell_of, store_failure
from keras_ffl.studies.tables.entry_results import collect, error_of, heads_of

FUSED = (24.0, 25.0, 26.5)
SUBS = ((27.0, 28.0), (27.5, 28.5), (26.0, 27.5))
COMMAND = "keras-ffl reproduce --table=small"


@pytest.fixture
def root(tmp_path):
    """Three runs of FFL, none of the network alone."""
    for seed, (fused, subs) in enumerate(zip(FUSED, SUBS)):
        finish_ffl(tmp_path, seed, fused, subs, seconds=10.0 + seed)
    return tmp_path


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_statistics(root):
    fused, sub, alone = collect(small_table(), 3, root)
    assert fused.errors == dict(enumerate(FUSED))
    np.testing.assert_allclose(fused.mean, np.mean(FUSED))
    np.testing.assert_allclose(fused.std, np.std(FUSED, ddof=1))
    # The sub-networks' mean is taken within each run.
    within = np.mean(SUBS, axis=1)
    np.testing.assert_allclose(sub.mean, within.mean())
    np.testing.assert_allclose(sub.std, within.std(ddof=1))
    assert sub.best_run == within.min()
    # Every run was one point better an epoch before its last.
    np.testing.assert_allclose(
        [sub.best_epochs[k] for k in range(3)], within - 1
    )
    np.testing.assert_allclose(sub.best_epoch[0], within.mean() - 1)
    assert fused.deployed == (250, 2500) and fused.trained == (300, 3000)
    assert fused.seconds_per_epoch == 11.0
    assert alone.mean is alone.std is alone.difference is None
    assert len(alone.unfinished) == 3 and not fused.unfinished


def test_one_run_has_no_deviation(root):
    fused = collect(small_table(), 1, root)[0]
    assert (fused.mean, fused.std, fused.differs) == (FUSED[0], None, None)


@pytest.mark.parametrize(
    ("paper", "differs"),
    [
        # s = 1.2583, n = 3, against 0.3, n = 10: two deviations are 1.4653.
        (PrintedError(25.0 + 1 / 6 + 1.46, 0.3, 10), False),
        (PrintedError(25.0 + 1 / 6 + 1.48, 0.3, 10), True),
        (PrintedError(25.0 + 1 / 6 - 1.48, 0.3, 10), True),
        (PrintedError(50.0, 0.3, 1), None),
        (PrintedError(50.0), None),
        (None, None),
    ],
)
def test_marks(root, paper, differs):
    margin = 2 * math.sqrt(np.var(FUSED, ddof=1) / 3 + 0.3**2 / 10)
    assert 1.46 < margin < 1.48
    table = small_table()
    entry = dataclasses.replace(table.entries[0], paper=paper)
    table = dataclasses.replace(table, entries=(entry,))
    results = collect(table, 3, root)
    assert results[0].differs is differs
    text = table_files.markdown(table, results, COMMAND, scaled=False)
    layout = text.partition("\n\n")[2].partition("## Details")[0]
    assert ("(3) ≠" in layout) == bool(differs)
    scaled = table_files.markdown(table, results, COMMAND, scaled=True)
    assert "≠" not in scaled and "+0.17" not in scaled


def test_markdown(root):
    failed = cell_of(small_table().entries[2], 1, root)
    store_failure(failed.path, "the disk is full")
    results = collect(small_table(), 3, root)
    text = table_files.markdown(small_table(), results, COMMAND, scaled=False)
    lines = text.splitlines()
    assert lines[0] == "# A small table"
    assert f"- Command: `{COMMAND}`" in lines
    assert "- Packages of the runs: keras 3.15.1, keras_ffl 0.1.0" in lines
    assert "- A note." in lines
    start = lines.index("|  | fused | paper | sub | paper |")
    assert lines[start + 2] == (
        "| FFL | 25.17 ± 1.26 (3) | 25.00 ± 0.30 (10) "
        "| 27.42 ± 0.63 (3) | 27.00 ± 0.40 (10), best 26.50 |"
    )
    assert lines[start + 3] == "| alone | – |  |  |  |"
    (detail,) = [line for line in lines if line.startswith("| FFL | fused")]
    assert detail == (
        "| FFL | fused | ffl | fused | 3 | 25.17 ± 1.26 | 24.17 ± 1.26 "
        "| 24.00 | +0.17 | 250 | 2,500 | 300 | 3,000 | 11.0 |"
    )
    assert f"- `{failed.name}`: missing, failed: the disk is full" in lines
    assert str(root) not in text


def test_csv(root):
    results = collect(small_table(), 3, root)
    fused, sub, alone = rows_of(
        table_files.csv_text(small_table(), results, False)
    )
    assert (fused["method"], fused["head"], fused["runs"]) == (
        "ffl",
        "fused",
        "3",
    )
    assert fused["seeds"] == "0 1 2"
    np.testing.assert_allclose(float(fused["last_epoch_mean"]), np.mean(FUSED))
    assert fused["paper_mean"] == "25.0" and fused["differs"] == "False"
    assert sub["paper_best_run"] == "26.5"
    assert sub["deployed_parameters"] == "100"
    assert alone["last_epoch_mean"] == "" and alone["paper_mean"] == ""
    assert alone["unfinished"].count("missing") == 3
    scaled = rows_of(table_files.csv_text(small_table(), results, True))
    assert scaled[0]["differs"] == "" and scaled[0]["scaled"] == "True"


def test_files(root):
    results = collect(small_table(), 3, root)
    path = table_files.write(small_table(), results, root, COMMAND, True)
    assert path == root / "table_small_scaled.md"
    assert path.with_suffix(".csv").exists()
    table_files.write(small_table(), results, root, COMMAND, False)
    assert (root / "table_small.csv").exists()
    # Nothing half-written stays.
    assert not [p for p in root.iterdir() if p.is_file() and p.name[0] == "."]


def test_a_single_head_and_top_5(tmp_path):
    config = small_table().entries[2].config
    table = Table(
        "t",
        "t",
        tuple(
            Entry("alone", metric, config, "vanilla", None, metric)
            for metric in ("top1_error", "top5_error")
        ),
    )
    finish(
        cell_of(table.entries[0], 0, tmp_path),
        {"vanilla": head(30.0, 9.0)},
        [
            {"epoch": 0, "val_accuracy": 0.75},
            {"epoch": 1, "val_accuracy": 0.7},
        ],
    )
    top1, top5 = collect(table, 1, tmp_path)
    assert (top1.mean, top1.best_epochs) == (30.0, {0: 25.0})
    assert (top5.mean, top5.best_epochs) == (9.0, {})


def test_heads():
    heads = {"fused": head(1.0), "sub_1": head(2.0), "sub_2": head(4.0)}
    assert heads_of(heads, "sub") == ["sub_1", "sub_2"]
    assert error_of(heads, "sub") == 3.0
    assert error_of(heads, "sub_2") == 4.0
    with pytest.raises(InputError, match="'teacher'"):
        heads_of(heads, "teacher")


def test_the_best_epoch_is_no_worse_than_the_last(tmp_path):
    cell = finish_ffl(tmp_path, 0, 25.0, (27.0, 28.0))
    # One image that ties counted otherwise in the validation.
    (cell.path / "history.csv").write_text(
        "epoch,val_fused_accuracy\n0,0.74\n1,0.7499\n"
    )
    fused, sub, _ = collect(small_table(), 1, tmp_path)
    assert fused.best_epochs == {0: 25.0}
    assert sub.best_epochs == {}  # Its columns are not there.


@pytest.mark.parametrize("damage", ["damaged", "lacking", "gone"])
def test_a_run_without_its_whole_history(root, damage):
    history = root / cell_of(small_table().entries[0], 1, root).name
    history = history / "history.csv"
    lines = history.read_text().splitlines()
    if damage == "damaged":
        lines[1] = "nonsense"
    history.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    if damage == "damaged":
        history.write_text("\n".join(lines) + "\n")
    elif damage == "gone":
        history.unlink()
    results = collect(small_table(), 3, root)
    # The last epoch's error needs no history, the best epoch's all of it.
    assert results[0].errors == dict(enumerate(FUSED))
    assert set(results[0].best_epochs) == {0, 2}
    text = table_files.markdown(small_table(), results, COMMAND, False)
    assert "24.25 ± 1.77 (2)" in text
