"""Arrays of a data set in a `.npz` file, which NumPy alone can read."""

import os
import zipfile

import numpy as np

from keras_ffl.errors import InputError

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path):
    """Reads a data set's arrays.

    Args:
        path: Path of a file as `numpy.savez` writes it, with the arrays that
            `keras_ffl.data.from_arrays` takes: `x_train`, `y_train`, `x_test`
            and `y_test`, and, if it likes, `class_names`.

    Returns:
        Dict of the arguments of `keras_ffl.data.from_arrays`.

    Raises:
        InputError: If the file can't be read or lacks an array.
    """
    path = os.path.expanduser(path)
    try:
        # NumPy leaves a file open that it can't read.
        with open(path, "rb") as stream, np.load(stream) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise InputError(
                    f"data_dir: expected the arrays {', '.join(_ARRAYS)} in "
                    f"{path}, got none named {', '.join(missing)}"
                )
            arrays = {name: file[name] for name in _ARRAYS}
            if "class_names" in file:
                arrays["class_names"] = [str(n) for n in file["class_names"]]
    except InputError:
        raise
    # Each kind of other file fails in its own way.
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"data_dir: {path} can't be read as a .npz file "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    return arrays
