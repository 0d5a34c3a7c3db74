"""Files that are replaced whole: a reader finds the old or the new one."""

import contextlib
import os
import shutil


@contextlib.contextmanager
def replacing(path, shared=False):
    """Context that replaces a file or folder once it is written completely.

    Args:
        path: `pathlib.Path`.
        shared: Whether several processes may write it at the same time. Each
            then has a temporary file of its own, which a killed process
            leaves behind; otherwise the next attempt overwrites it.

    Yields:
        `pathlib.Path` in the same folder to write to. Its name ends with that
        of `path`, because Keras takes the format from it.
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
    """Writes a text file; the arguments are those of `replacing`."""
    with replacing(path, shared) as temporary:
        temporary.write_text(text, encoding="utf-8")
