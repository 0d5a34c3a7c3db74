"""Atomic replacement of files: readers find the old or the new one."""

import contextlib
import fcntl
import os
import re
import shutil
import uuid

from keras_ffl.errors import InputError

_UNFINISHED = re.compile(r"unfinished_[0-9a-f]{8}_.+")


@contextlib.contextmanager
def replacing(path):
    """Context that replaces a file or folder once it is written completely.

    Several processes may write at the same time. What killed ones left in the
    folder is removed when nobody else writes there.

    Args:
        path: `pathlib.Path`.

    Yields:
        `pathlib.Path` in the same folder to write to. Its name ends with that
        of `path`, because Keras infers the format from it.
    """
    temporary = path.with_name(f"unfinished_{uuid.uuid4().hex[:8]}_{path.name}")
    with _writing_in(path.parent):
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            _remove(temporary)


@contextlib.contextmanager
def _writing_in(folder):
    """Context with a shared lock of a folder, which a kill releases."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems don't support locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in folder.iterdir():
                if _UNFINISHED.fullmatch(path.name):
                    _remove(path)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def write_whole(path, text):
    """Writes a text file as in `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_folder(folder, argument):
    """Checks before long work that its results can be written.

    Args:
        folder: `pathlib.Path`, created if necessary.
        argument: Str, who names the folder, for the message.

    Raises:
        InputError: No file can be written in it.
    """
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"`{argument}` {folder} can't be written: {error.strerror}"
        ) from error
