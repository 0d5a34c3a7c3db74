"""A data set's arrays in a `.npz` file, read with NumPy alone."""

import os

import numpy as np

from keras_ffl.errors import InputError, named_first_line

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path):
    """Reads a data set's arrays.

    Args:
        path: Path of a file written by `numpy.savez`, with the arrays that
            `keras_ffl.data.from_arrays` takes: `x_train`, `y_train`, `x_test`
            and `y_test`, and optionally `class_names`, whose surrounding
            whitespace is dropped.

    Returns:
        Dict of the arguments of `keras_ffl.data.from_arrays`.

    Raises:
        InputError: The file can't be read or lacks an array.
    """
    path = os.path.expanduser(path)
    try:
        # NumPy doesn't close a file that it fails to read.
        with open(path, "rb") as stream, np.load(stream) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise InputError(
                    "`data_dir` must be a file with the arrays "
                    f"{', '.join(_ARRAYS)}, got {path} without "
                    f"{', '.join(missing)}"
                )
            arrays = {name: file[name] for name in _ARRAYS}
            if "class_names" in file:
                arrays["class_names"] = [
                    (n.decode() if isinstance(n, bytes) else str(n)).strip()
                    for n in file["class_names"]
                ]
    except InputError:
        raise
    # Other file types and damages all fail differently.
    except Exception as error:
        raise InputError(
            f"`data_dir`: {path} can't be read as a .npz file "
            f"({named_first_line(error)})"
        ) from error
    return arrays
