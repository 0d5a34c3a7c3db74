"""What scripts do on a full disk, and when a folder vanishes."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
from support.processes import environment

from keras_ffl.workdir import Workdir

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
RUN = [
    "--preset=quickstart_vanilla",
    "--set=epochs=3",
    "--set=batch_size=480",
    "--set=lr_milestones=",
    "--deterministic",
]
pytestmark = pytest.mark.slow


def command(script, *arguments):
    return [sys.executable, str(SCRIPTS / script), *map(str, arguments)]


def run(script, *arguments):
    return subprocess.run(
        command(script, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
    )


def error_of(done):
    """The only line that a failed script says."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    return last


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, and a function that sets its size in KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)],
            capture_output=True,
        )

    if os.geteuid() != 0 or mount("-o", "size=4096k").returncode != 0:
        pytest.skip("a disk of its own needs root's right to mount one")
    yield folder, lambda size: mount("-o", f"remount,size={size}k")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def used(folder):
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def test_training_on_a_full_disk(disk, tmp_path):
    folder, resize = disk
    path = folder / "run"
    assert run("train.py", *RUN, f"--workdir={tmp_path}/whole").returncode == 0
    done = run("train.py", *RUN, "--set=epochs=1", f"--workdir={path}")
    assert done.returncode == 0, done.stderr
    good = {p: p.read_bytes() for p in path.glob("checkpoints/*")}
    # The next checkpoint does not fit.
    (folder / "other").write_bytes(bytes(4096 * 1024 - used(folder) - 2**17))
    options = [*RUN, f"--workdir={path}"]
    assert "space" in error_of(run("train.py", *options))
    assert good == {p: p.read_bytes() for p in good}
    assert error_of(run("train.py", *options, "--save_every_minutes=1e-9"))
    assert good == {p: p.read_bytes() for p in good}
    resize(16384)
    done = run("train.py", *options)
    assert done.returncode == 0, done.stderr
    whole = Workdir(tmp_path / "whole")
    assert Workdir(path).history.read_text() == whole.history.read_text()
    # Nothing that was not finished is left.
    assert not list(path.rglob("unfinished_*"))


@pytest.mark.parametrize("form", ["saved_model", "keras"])
def test_exporting_to_a_full_disk(form, disk, tmp_path):
    folder, _ = disk
    assert run("train.py", *RUN, f"--workdir={tmp_path}/run").returncode == 0
    (folder / "other").write_bytes(bytes(4096 * 1024 - 2**16))
    arguments = f"--workdir={tmp_path}/run", f"--format={form}"
    error = error_of(run("export.py", *arguments, f"--output={folder}/models"))
    assert str(folder) in error
    left = [p.name for p in (folder / "models").rglob("*")]
    assert not [name for name in left if name.startswith("unfinished_")]


def test_a_read_only_folder(disk, tmp_path):
    folder, _ = disk
    path = folder / "run"
    options = [*RUN, "--set=epochs=1", f"--workdir={path}"]
    assert run("train.py", *options).returncode == 0
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    error = error_of(run("train.py", *options, "--set=epochs=3"))
    assert str(path) in error and "Read-only file system" in error
    for script, *arguments in (
        ("export.py", f"--output={path}"),
        ("report.py",),
        ("gradcam.py", f"--output={path}/new/figure.png"),
        ("transfer.py", "--dataset=digits", f"--output={path}/transfer.json"),
    ):
        error = error_of(run(script, f"--workdir={path}", *arguments))
        assert str(path) in error and "Read-only file system" in error
    done = run("evaluate.py", f"--workdir={path}")
    assert done.returncode == 0, done.stderr
    output = tmp_path / "models"
    done = run("export.py", f"--workdir={path}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert before == {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_workdir_that_vanishes(tmp_path):
    path = tmp_path / "run"
    options = [*RUN, "--set=epochs=500", f"--workdir={path}"]
    with subprocess.Popen(
        command("train.py", *options),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not list(path.glob("checkpoints/epoch_*.keras")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        shutil.rmtree(path, ignore_errors=True)
        _, printed = process.communicate()
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("error: ")


def test_data_that_vanish(tmp_path):
    done = run("train.py", *RUN, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config |= {"dataset": "npz", "data_dir": str(tmp_path / "gone.npz")}
    path.write_text(json.dumps(config))
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    error = error_of(run("evaluate.py", f"--workdir={tmp_path / 'run'}"))
    assert "gone.npz" in error
    assert before == {p: p.read_bytes() for p in before}
