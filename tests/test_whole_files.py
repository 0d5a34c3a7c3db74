"""Files that are replaced as a whole, and what killed writers leave."""

import signal
import subprocess
import sys

import pytest

from keras_ffl import whole_files
from keras_ffl.whole_files import replacing, write_whole

# Writes half a file and half a folder, and waits.
WRITER = f"""
import pathlib, runpy, sys
replacing = runpy.run_path({whole_files.__file__!r})["replacing"]
folder = pathlib.Path(sys.argv[1])
with replacing(folder / "model.keras") as file, replacing(folder / "a") as a:
    file.write_text("half")
    a.mkdir()
    (a / "part").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def unfinished(folder):
    return sorted(path.name[20:] for path in folder.glob("unfinished_*"))


def test_what_a_killed_writer_left_is_removed(writer, tmp_path):
    (tmp_path / "unfinished_symphony").write_text("mine")
    (tmp_path / "unfinished_0123abcd").mkdir()
    # It is alive.
    write_whole(tmp_path / "other", "text")
    assert unfinished(tmp_path) == ["", "", "a", "model.keras"]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert unfinished(tmp_path) == ["", "", "a", "model.keras"]
    write_whole(tmp_path / "model.keras", "whole")
    assert (tmp_path / "model.keras").read_text() == "whole"
    assert unfinished(tmp_path) == ["", ""]
    assert (tmp_path / "unfinished_symphony").read_text() == "mine"


def test_writers_at_the_same_time(writer, tmp_path):
    write_whole(tmp_path / "model.keras", "first")
    _, errors = writer.communicate()
    assert writer.returncode == 0, errors
    assert (tmp_path / "model.keras").read_text() == "half"
    assert (tmp_path / "a" / "part").read_text() == "half"
    assert not unfinished(tmp_path)


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old")
    with pytest.raises(ValueError, match="stopped"):
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise ValueError("stopped")
    assert path.read_text() == "old"
    assert not unfinished(tmp_path)


def test_a_folder_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError("not supported")

    (tmp_path / "unfinished_0123abcd_file").write_text("perhaps alive")
    monkeypatch.setattr(whole_files.fcntl, "flock", no_locks)
    write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
    assert unfinished(tmp_path) == ["file"]
