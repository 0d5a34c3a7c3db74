"""Trains one cell in a separate process: `python -m` with a JSON object.

The process ends with its parent, however that ends: its standard input is a
pipe that the parent holds open. A byte there asks it to stop after the step;
unlike a signal it does no harm to a process that is stopping already.
"""

import json
import os
import pathlib
import signal
import sys
import threading
import time
import traceback

from keras_ffl import training
from keras_ffl.config import Config
from keras_ffl.errors import FFLError, Unfinished, named_first_line
from keras_ffl.folder_lock import FolderInUse
from keras_ffl.optional import import_modules
from keras_ffl.process_end import leave
from keras_ffl.studies.tables.cells import (
    BUSY,
    FAILED,
    STOPPED,
    Cell,
    failure_file,
    store_failure,
)


def train(cell):
    """Trains a cell unless another process is training it or has done so.

    Args:
        cell: `keras_ffl.studies.tables.cells.Cell`.

    Returns:
        Exit code: 0, `FAILED` (the reason is stored), `BUSY` or `STOPPED`.
    """
    try:
        if not cell.finished:
            training.train(cell.config, cell.path)
    except FolderInUse:
        return BUSY
    except Unfinished:
        return STOPPED
    # Any error goes into the report, and the other cells continue.
    except Exception as error:
        traceback.print_exc()
        store_failure(cell.path, _reason(error))
        return FAILED
    failure_file(cell.path).unlink(missing_ok=True)
    return 0


def _reason(error):
    if isinstance(error, FFLError):
        return str(error)
    return named_first_line(error)


def _follow_parent():
    # Not sys.stdin, whose lock would interfere with a normal exit.
    while os.read(0, 1):
        # One has been received, which a second would overtake.
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)


def main():
    """Trains the cell described by the only argument."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    given = json.loads(sys.argv[1])
    import_modules(given["imports"])
    config = Config.from_dict(given["config"])
    status = train(Cell(config, pathlib.Path(given["root"])))
    if status == STOPPED:
        leave(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
