"""The end of a process whose work was interrupted."""

import os
import sys

import keras


def leave(status):
    """Ends the process.

    Args:
        status: Int, the exit status.
    """
    if keras.config.backend() == "jax":
        # It may crash while Python ends, if its work was interrupted.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    sys.exit(status)
