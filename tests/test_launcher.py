"""The program `keras-ffl`, and what it keeps from stderr at its start."""

import os
import pathlib
import platform
import signal
import subprocess
import sys

import pytest

import keras_ffl_launcher
from keras_ffl import cli, commands


def start(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


def test_every_command_has_a_line_and_a_module(capsys):
    folder = pathlib.Path(commands.__file__).parent
    modules = {path.stem for path in folder.glob("[a-z]*.py")}
    assert set(keras_ffl_launcher.COMMANDS) == modules
    keras_ffl_launcher.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) < 80
    for name in modules:
        assert sum(line.split()[:1] == [name] for line in lines) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tran"], "unknown command 'tran'"),
        (["--flag"], "unknown command '--flag'"),
        ([], "no command given"),
    ],
)
def test_what_is_no_command(arguments, error, capsys):
    with pytest.raises(SystemExit, match=f"^error: {error}; the commands"):
        keras_ffl_launcher.main(arguments)
    assert "\n  train " in capsys.readouterr().err


@pytest.mark.slow
def test_help_of_a_command_in_silence():
    done = start("-m", "keras_ffl_launcher", "evaluate", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Evaluates every head" in done.stdout
    for flag in ("workdir", "json", "import", "verbose"):
        assert f"{flag}: " in done.stdout


def test_a_wrong_flag_is_one_line(capsys):
    with pytest.raises(SystemExit, match="^1$"):
        cli._parse(["keras-ffl train", "--jobbs"])
    assert capsys.readouterr().err == (
        "error: Unknown command line flag 'jobbs' (--help lists the flags)\n"
    )


def test_a_field_as_a_flag():
    done = start("-m", "keras_ffl_launcher", "train", "--epochs=3")
    assert done.returncode == 1
    assert done.stderr.endswith(
        ", and --set epochs=... sets fields of a run)\n"
    )


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 only")
@pytest.mark.parametrize(
    ("given", "used"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")]
)
def test_onednn_is_on_unless_turned_off(given, used):
    code = (
        "import os, keras_ffl_launcher\n"
        "with keras_ffl_launcher.starting('train'):\n"
        "    print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    environment = {**os.environ, **given}
    if not given:
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    assert start("-c", code, env=environment).stdout == f"{used}\n"


WRITER = """
import os, signal, sys
from keras_ffl_launcher import without_start_up_lines

# Background jobs of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))
with without_start_up_lines():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is\\n")
    os.write(2, b"I0000 00:00:1.2 3 port.cc:153] oneDNN is on.\\n")
    os.write(2, b"E0000 00:00:1.2 3 cuda_platform.cc:52] failed: (303)\\n")
    os.write(2, b"E0000 00:00:1.2 3 cuda_platform.cc:52] failed: (999)\\n")
    os.write(2, b"F0000 00:00:1.2 3 port.cc:9] no such instruction\\n")
    print("a warning", file=sys.stderr)
    os.write(2, b"cut ")
    {end}
os.write(2, b"I0000 after the start\\n")
"""
KEPT = """\
E0000 00:00:1.2 3 cuda_platform.cc:52] failed: (999)
F0000 00:00:1.2 3 port.cc:9] no such instruction
a warning
cut """


@pytest.mark.parametrize(
    ("end", "status", "last"),
    [
        ("pass", 0, "I0000 after the start\n"),
        ("raise ImportError('gone')", 1, "ImportError: gone\n"),
        ("sys.exit('error: refused')", 1, "error: refused\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("os.abort()", -signal.SIGABRT, ""),
        ("os.killpg(0, signal.SIGTERM)", -signal.SIGTERM, ""),
        ("os.killpg(0, signal.SIGINT)", 1, "KeyboardInterrupt\n"),
    ],
)
def test_nothing_else_is_lost(end, status, last):
    done = start("-c", WRITER.format(end=end), start_new_session=True)
    if "SIGINT" in end:
        status = done.returncode
        assert status
    assert done.returncode == status
    assert done.stderr.startswith(KEPT) and done.stderr.endswith(last)
    assert "oneDNN" not in done.stderr and "303" not in done.stderr
