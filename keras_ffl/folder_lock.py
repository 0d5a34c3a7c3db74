"""The lock of a run's folder, for a single training process."""

import contextlib
import fcntl
import os
import socket
import time

from absl import logging

from keras_ffl.errors import InputError

# Seconds to wait for a process that was just killed.
_PATIENCE = 3


class FolderInUse(InputError):
    """Another process is training in the folder."""


@contextlib.contextmanager
def locked(folder):
    """Context in which no other process can train in a folder.

    The kernel releases the lock when its process ends.

    Args:
        folder: `pathlib.Path`.

    Raises:
        FolderInUse: Another process does; the message names it.
    """
    with (folder / ".lock").open("a+") as file:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    file.seek(0)
                    raise FolderInUse(
                        f"{folder} is in use by another run: "
                        f"{file.read().strip()}"
                    ) from None
                time.sleep(0.1)
            except OSError as error:
                # Some network file systems don't support locks.
                file.seek(0)
                logging.warning(
                    "%s can't be locked (%s), so make sure that no other "
                    "process is training in it; the last one was %s",
                    folder,
                    error.strerror,
                    file.read().strip() or "this one",
                )
                break
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
