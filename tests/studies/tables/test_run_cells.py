"""Cells run side by side, with a stand-in for the process that trains."""

import dataclasses
import json
import os
import signal
import textwrap

import pytest
from support.finished_cells import VANILLA

from keras_ffl.errors import InputError
from keras_ffl.studies.tables import run_cells
from keras_ffl.studies.tables.cells import Cell

# Does what the name of the network says.
STAND_IN = """
    import json, os, pathlib, signal, sys
    given = json.loads(sys.argv[1])
    config = given["config"]
    what = config["networks"][0]
    path = next(
        p for p in pathlib.Path(given["root"]).iterdir() if what in p.name
    )
    affinity = sorted(os.sched_getaffinity(0))
    (path / "seen.json").write_text(json.dumps([affinity, os.getpgrp()]))
    print("output of", what)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "crashed":
        raise SystemExit(1)
    if what == "busy":
        raise SystemExit(4)
    if what == "failed":
        (path / "failed.json").write_text(json.dumps({"reason": "too big"}))
        raise SystemExit(3)
    (path / "config.json").write_text(json.dumps(config))
    (path / "metrics.json").write_text(json.dumps({
        "epoch": config["epochs"], "heads": {"model": {}}, "parameters": 1,
        "multiply_adds": 1, "versions": {}, "seconds_per_epoch": 1.0,
    }))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    modules = tmp_path / "modules"
    modules.mkdir()
    text = textwrap.dedent(STAND_IN)
    (modules / "stand_in.py").write_text(text)
    monkeypatch.setattr(run_cells, "_PROGRAM", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    # What `run` sets up for a script is put back after the test.
    handler = run_cells.signal.getsignal(run_cells.signal.SIGTERM)
    yield
    run_cells.signal.signal(run_cells.signal.SIGTERM, handler)


def cells(root, *networks):
    return [
        Cell(dataclasses.replace(VANILLA, networks=(name,)), root / "cells")
        for name in networks
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_is_listed_and_the_others_go_on(
    stand_in, tmp_path, capsys, jobs
):
    found = cells(
        tmp_path, "killed", "first", "crashed", "failed", "busy", "last"
    )
    reports = []
    handler = signal.getsignal(signal.SIGTERM)
    unfinished = run_cells.run(found, jobs, lambda: reports.append(1))
    assert unfinished == 1
    assert signal.getsignal(signal.SIGTERM) == handler
    assert len(reports) == len(found)
    killed, first, crashed, failed, busy, last = found
    assert first.finished and last.finished
    assert "killed by SIGKILL" in killed.failure()
    assert "exit code 1" in crashed.failure()
    assert failed.failure() == "too big"
    assert busy.failure() is None and not busy.finished
    printed = capsys.readouterr().out
    assert f"{failed.name}: failed: too big" in printed
    assert f"{busy.name}: skipped, another process is training it" in printed
    assert "output of killed" in (killed.path / "train.log").read_text()


def test_finished_cells_are_left_alone(stand_in, tmp_path, capsys):
    found = cells(tmp_path, "first", "last")
    run_cells.run(found, 2, lambda: None)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    capsys.readouterr()
    run_cells.run(found, 2, lambda: None)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the OS can't pin processes"
)
def test_each_child_has_its_share_of_the_cpus(stand_in, tmp_path):
    ours = os.sched_getaffinity(0)
    found = cells(tmp_path, "first", "last")
    run_cells.run(found, 2, lambda: None)
    assert os.sched_getaffinity(0) == ours
    shares = [sorted(share) for share in run_cells.cpu_shares(2)]
    for cell, share in zip(found, shares):
        seen, group = json.loads((cell.path / "seen.json").read_text())
        assert seen == share
        assert group != os.getpgrp()  # Ctrl-C does not reach it.


def test_cpu_shares(monkeypatch):
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 6}, raising=False
    )
    monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)
    assert run_cells.cpu_shares(1) == [None]
    assert run_cells.cpu_shares(2) == [{0, 1}, {2, 5, 6}]
    assert run_cells.cpu_shares(5) == [{0}, {1}, {2}, {5}, {6}]
    assert run_cells.cpu_shares(7)[5:] == [{0}, {1}]
    monkeypatch.delattr(os, "sched_setaffinity")
    assert run_cells.cpu_shares(2) == [None, None]


def test_shards_are_a_partition():
    everything = list(range(11))
    parts = [run_cells.shard_of(everything, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(sum(parts, [])) == everything
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert run_cells.shard_of(everything, None) == everything


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", ""])
def test_malformed_shard(shard):
    with pytest.raises(InputError, match="`shard` must be k/n"):
        run_cells.shard_of([1, 2], shard)
