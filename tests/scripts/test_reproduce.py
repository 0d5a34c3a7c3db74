"""`reproduce.py` as a user starts it, on a table of three tiny cells."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "reproduce.py"

# The script with a table of its own; the second cell can't be built.
STARTER = f"""
import dataclasses, runpy
from keras_ffl.studies import tables
from keras_ffl.config import Config

base = Config(method="vanilla", epochs=1, batch_size=480, lr_milestones=())
tables.TABLES["tiny"] = lambda: tables.Table(
    "tiny",
    "Tiny",
    tuple(
        tables.Entry(row, "error", dataclasses.replace(base, **changes),
                           "vanilla", tables.PrintedError(50.0, 1.0, 3))
        for row, changes in (
            ("first", {{}}),
            ("broken", {{"networks": ("vgg",)}}),
            ("last", {{"learning_rate": 0.05}}),
        )
    ),
)
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


@pytest.fixture
def starter(tmp_path):
    path = tmp_path / "starter.py"
    path.write_text(STARTER)
    return path


def start(starter, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, str(starter), "--table=tiny", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        **options,
    )


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} was not printed: {process.stderr.read()}")


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_killed_and_started_again(starter, tmp_path):
    root = tmp_path / "runs"
    with start(starter, f"--workdir={root}") as process:
        read_until(process, "finished in")
        read_until(process, "started")  # the second cell
        process.send_signal(signal.SIGKILL)
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    (first,) = [p for p in folders if (p / "metrics.json").exists()]
    before = contents(first)
    text = (root / "table_tiny.md").read_text()
    assert "| first | error | vanilla | vanilla | 1 |" in text
    assert "| last | error | vanilla | vanilla | 0 |" in text

    with start(starter, f"--workdir={root}") as process:
        out, err = process.communicate()
    assert process.returncode == 1  # for the one that can't be built
    assert "Traceback" not in err
    assert "2 of 3 cells finished" in out
    assert first.name not in out
    assert "skipped" not in out  # The killed one's children are gone.
    assert contents(first) == before
    text = (root / "table_tiny.md").read_text()
    assert "| last | error | vanilla | vanilla | 1 |" in text
    assert text.count("failed: ") == 1 and str(tmp_path) not in text


def test_terminated_is_one_line_and_ends_the_children(starter, tmp_path):
    root = tmp_path / "runs"
    with start(starter, f"--workdir={root}") as process:
        read_until(process, "started")
        (cell,) = [p for p in root.iterdir() if p.is_dir()]
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        out, err = process.communicate()
    assert time.monotonic() - started < 10
    assert process.returncode == 75
    last = out.strip().splitlines()[-1]
    assert last == "interrupted; the same command resumes"
    assert "Traceback" not in err
    assert not (cell / "failed.json").exists()


def test_bad_input_is_one_line(starter, tmp_path):
    with start(starter, "--workdir=runs", "--shard=3/2", cwd=tmp_path) as ran:
        _, err = ran.communicate()
    assert ran.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: `shard` must be k/n")
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()
