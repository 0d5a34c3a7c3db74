"""What the scripts share: flags, and errors as one line."""

import dataclasses
import sys

from absl import app, flags, logging

from keras_ffl.errors import FFLError, InputError, Unfinished, printable
from keras_ffl.optional import import_modules

# Of a run that stopped as it was told to and can go on (EX_TEMPFAIL).
UNFINISHED = 75

# The upper bound of numbers of repetitions, far beyond what anybody can wait
# for and below what fills the memory before anything runs.
MOST = 100_000

IMPORT = flags.DEFINE_multi_string(
    "import",
    [],
    "Python module to import first, such as one with a method or layers of "
    "your own; repeatable.",
)


def run(main):
    """Runs a script's main function.

    A `keras_ffl.errors.FFLError` is printed as one line, and the script
    exits with status 1 and without a traceback; of a run that is unfinished
    but well with status `UNFINISHED`.

    Args:
        main: Function of no arguments.
    """

    def guarded(arguments):
        # Names of files need not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
        if len(arguments) > 1:
            _fail(f"unexpected argument {arguments[1]!r}; see --help")
        try:
            _check_paths()
            import_modules(IMPORT.value)
            main()
        except Unfinished as reason:
            print(reason)
            sys.exit(UNFINISHED)
        except FFLError as error:
            _fail(error)
        except OSError as error:
            # A full disk or a file that may not be written.
            _fail(f"{error.filename or 'input or output'}: {error.strerror}")
        except KeyboardInterrupt:
            _fail("interrupted; the same command goes on")

    logging.set_verbosity(logging.WARNING)
    app.run(guarded)


# Flags of any script. An empty path is most often a shell variable that is
# not set, and would mean the current folder, or none.
_PATHS = (
    "class_names",
    "compare",
    "data_dir",
    "image",
    "output",
    "teacher",
    "workdir",
)


def _check_paths():
    given = (flags.FLAGS[name] for name in _PATHS if name in flags.FLAGS)
    for flag in given:
        paths = flag.value if isinstance(flag.value, list) else [flag.value]
        if "" in paths or (flag.present and not paths):
            raise InputError(f"`{flag.name}` must be a path, got an empty one")


def _fail(message):
    text = " ".join(printable(message).split())
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def define_workdir():
    """Defines the required flag `--workdir`.

    Returns:
        `absl.flags.FlagHolder` of the path.
    """
    return flags.DEFINE_string(
        "workdir", None, "Folder of the run.", required=True
    )


def define_checkpoint():
    """Defines the flag `--checkpoint`, which names a model of a run.

    Returns:
        `absl.flags.FlagHolder` of "last" or "best".
    """
    return flags.DEFINE_enum(
        "checkpoint",
        "last",
        ["last", "best"],
        "Whether to take the model of the last or of the best epoch.",
    )


def define_data_dir():
    """Defines the flag `--data_dir` of scripts that take up a run.

    Returns:
        `absl.flags.FlagHolder` of the path, None where it has not moved.
    """
    return flags.DEFINE_string(
        "data_dir", None, "Folder of the data, if it has moved."
    )


def with_data_dir(config, data_dir):
    """A run's configuration with the folder its data is in now.

    Args:
        config: `keras_ffl.config.Config`.
        data_dir: Path, or None where it has not moved.

    Returns:
        `keras_ffl.config.Config`.
    """
    if not data_dir:
        return config
    return dataclasses.replace(config, data_dir=data_dir)
