"""Ctrl-C at any moment of any script: at most one line, and an end."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest
from support.processes import environment
from support.script_runs import forget_commands

from keras_ffl import cli
from keras_ffl.workdir import Workdir

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
# Says when the interpreter has started, before which it handles signals itself.
START = """
import runpy, sys
print("started", flush=True)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RUN = [
    "--preset=quickstart_vanilla",
    "--set=epochs=1",
    "--set=batch_size=480",
    "--set=lr_milestones=",
]
FLAGS = {
    "train.py": [*RUN, "--set=epochs=100000", "--workdir=NEW"],
    "evaluate.py": ["--workdir=RUN"],
    "export.py": ["--workdir=RUN", "--output=NEW", "--formats=saved_model"],
    "report.py": ["--workdir=RUN", "--output=NEW/report.html"],
    "gradcam.py": ["--workdir=RUN", "--output=NEW/figure.png"],
    "transfer.py": [
        "--workdir=RUN",
        "--dataset=digits",
        "--output=NEW.json",
    ],
    "quickstart.py": ["--workdir=NEW"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    subprocess.run(
        [sys.executable, str(SCRIPTS / "train.py"), *RUN, f"--workdir={path}"],
        env=environment(),
        capture_output=True,
        check=True,
    )
    return path


def interrupted(script, seconds, run, new):
    """Starts and interrupts a script; returns its status and what it said."""
    arguments = [
        flag.replace("RUN", str(run)).replace("NEW", str(new))
        for flag in FLAGS[script]
    ]
    with subprocess.Popen(
        [sys.executable, "-c", START, str(SCRIPTS / script), *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, output, errors


def check(script, seconds, run, new):
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    status, output, errors = interrupted(script, seconds, run, new)
    said = f"{script} after {seconds} s: {status}\n{output}\n{errors}"
    assert "Traceback" not in errors and "KeyboardInterrupt" not in errors, said
    lines = [each for each in errors.splitlines() if "error: " in each]
    if status == 75:
        assert "the same command resumes" in output.splitlines()[-1], said
    elif status == 1:
        assert lines == ["error: interrupted; the same command resumes"], said
    else:
        # While it imported, or because it had finished.
        assert status == -signal.SIGINT or (status == 0 and seconds > 1), said
        assert script != "train.py" or status, said
        assert not lines, said
    assert before == {path: path.read_bytes() for path in run.rglob("*.*")}
    assert not list(new.parent.rglob("unfinished_*")), said


@pytest.mark.parametrize("script", ["train.py", "report.py"])
def test_while_it_imports(script, tmp_path):
    # There is no run yet, so an interruption that is lost is an error.
    for seconds in (0.1, 1):
        check(script, seconds, tmp_path / "none", tmp_path / "new")
        assert not Workdir(tmp_path / "new").started


@pytest.mark.slow
@pytest.mark.parametrize("script", FLAGS)
def test_at_any_moment(script, run, tmp_path):
    for seconds in (0.05, 0.5, 2, 3, 4, 5, 6, 7, 8):
        check(script, seconds, run, tmp_path / f"new_{seconds}")


def test_where_python_ignores_it(monkeypatch, capfd):
    class Ignoring:
        def __del__(self):
            raise KeyboardInterrupt

    def main():
        Ignoring()
        time.sleep(10)
        raise AssertionError("not interrupted")

    forget_commands()
    monkeypatch.setattr(sys, "argv", ["main"])
    with pytest.raises(SystemExit, match="1"):
        cli.run(main)
    expected = "error: interrupted; the same command resumes\n"
    assert capfd.readouterr().err == expected
