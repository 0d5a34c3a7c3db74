"""Atomic replacement of files: readers find the old or the new one."""

import contextlib
import os
import shutil


@contextlib.contextmanager
def replacing(path, shared=False):
    """Context that replaces a file or folder once it is written completely.

    Args:
        path: `pathlib.Path`.
        shared: Bool, whether several processes may write it at the same time.
            If so, each has its own temporary file, which a killed process
            leaves behind; otherwise the next attempt overwrites it.

    Yields:
        `pathlib.Path` in the same folder to write to. Its name ends with that
        of `path`, because Keras infers the format from it.
    """
    process = f"{os.getpid()}_" if shared else ""
    temporary = path.with_name(f"unfinished_{process}{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_whole(path, text, shared=False):
    """Writes a text file; the arguments are as in `replacing`."""
    with replacing(path, shared) as temporary:
        temporary.write_text(text, encoding="utf-8")
