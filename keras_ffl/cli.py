"""Shared parts of the commands: flags, and errors as one line."""

import inspect
import os
import signal
import sys
import threading

from absl import app, flags, logging

from keras_ffl.errors import (
    FFLError,
    InputError,
    Unfinished,
    first_line,
    one_line,
    printable,
)
from keras_ffl.optional import import_modules
from keras_ffl.process_end import leave

# Exit status of a run that stopped on request and can be resumed (EX_TEMPFAIL).
UNFINISHED = 75

# Upper bound of numbers of repetitions: far more than anyone can wait for, but
# not enough to fill the memory before anything runs.
MOST = 100_000

IMPORT = flags.DEFINE_multi_string(
    "import",
    [],
    "Python module to import first, for example one with your own method, "
    "networks or layers; repeatable.",
)
# Read by `keras_ffl_launcher` too, before the flags are parsed.
VERBOSE = flags.DEFINE_bool(
    "verbose",
    False,
    "Show Keras' own progress bars and all that TensorFlow says.",
)
# What follows defines flags for the module that calls it.
flags.disclaim_key_flags()

_HELP = {"--help", "-help", "-h", "-?", "--helpshort", "-helpshort"}


def run(main):
    """Runs a command's main function.

    It prints a `keras_ffl.errors.FFLError` as one line without a traceback and
    exits with status 1, or with status `UNFINISHED` if a run is unfinished
    without an error.

    Args:
        main: Function in the module with the command's flags, of no arguments,
            or of a list of what the command line names besides the flags.
    """

    takes_more = bool(inspect.signature(main).parameters)

    def guarded(arguments):
        # File names may not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
        given = [arguments[1:]] if takes_more else []
        if len(arguments) > 1 and not takes_more:
            _fail(f"unexpected argument {arguments[1]!r}; see --help")
        # The launcher leaves it to the system while it imports.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        hook, sys.unraisablehook = sys.unraisablehook, _interrupted_again
        try:
            _take_paths()
            import_modules(IMPORT.value)
            main(*given)
        except Unfinished as reason:
            print(reason)
            leave(UNFINISHED)
        except FFLError as error:
            _fail(error)
        except OSError as error:
            # For example a full disk or a read-only file.
            what = error.filename or "input or output"
            _fail(f"{what}: {error.strerror or first_line(error)}")
        except KeyboardInterrupt:
            print(
                "error: interrupted; the same command resumes", file=sys.stderr
            )
            leave(1)
        finally:
            sys.unraisablehook = hook

    logging.set_verbosity(logging.WARNING)
    if _HELP & set(sys.argv[1:]):
        print(_help(sys.modules[main.__module__]))
        sys.exit()
    app.run(guarded, flags_parser=_parse)


def _interrupted_again(unraisable):
    """Repeats Ctrl-C where Python would ignore it, as in a destructor."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = os.getpid(), signal.SIGINT
        threading.Timer(0.05, os.kill, again).start()
    else:
        sys.__unraisablehook__(unraisable)


def _help(module):
    for holder in (IMPORT, VERBOSE):
        flag = flags.FLAGS[holder.name]
        flags.FLAGS.register_key_flag_for_module(module.__name__, flag)
    return f"{module.__doc__}{flags.FLAGS.module_help(module.__name__)}"


def _parse(arguments):
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        name = getattr(error, "flagname", None)
        unknown = name and "Did you mean" not in str(error)
        more = f", and --set {name}=... sets fields of a run"
        more *= bool(unknown and "set" in flags.FLAGS)
        _fail(f"{error} (--help lists the flags{more})")


# Path flags of all commands. An empty path usually comes from an unset shell
# variable and would mean the current folder, or none.
_PATHS = (
    "class_names",
    "compare",
    "data_dir",
    "image",
    "output",
    "teacher",
    "workdir",
)


def _take_paths():
    given = (flags.FLAGS[name] for name in _PATHS if name in flags.FLAGS)
    for flag in given:
        several = isinstance(flag.value, list)
        paths = flag.value if several else [flag.value]
        if "" in paths or (flag.present and not paths):
            raise InputError(f"`{flag.name}` must be a path, got an empty one")
        # Not all shells do this behind `--workdir=`.
        paths = [each and os.path.expanduser(each) for each in paths]
        flag.value = paths if several else paths[0]


def complain(message):
    """Prints an error as one line, without an end of the command."""
    print(f"error: {one_line(printable(message))}", file=sys.stderr)


def _fail(message):
    complain(message)
    sys.exit(1)


def verbosity():
    """What to show, by the flag `--verbose`.

    Returns:
        Int, `verbose` of `keras_ffl.training.train`.
    """
    return 2 if VERBOSE.value else 1


def define_workdir():
    """Defines the required flag `--workdir`.

    Returns:
        `absl.flags.FlagHolder` of the path.
    """
    return flags.DEFINE_string(
        "workdir", None, "Folder of the run.", required=True
    )


def define_checkpoint():
    """Defines the flag `--checkpoint`, which selects a run's model.

    Returns:
        `absl.flags.FlagHolder` of "last" or "best".
    """
    return flags.DEFINE_enum(
        "checkpoint",
        "last",
        ["last", "best"],
        "Whether to use the model of the last or of the best epoch.",
    )


def define_data_dir():
    """Defines the flag `--data_dir` of commands that use a trained run.

    Returns:
        `absl.flags.FlagHolder` of the path, None if it hasn't moved.
    """
    return flags.DEFINE_string(
        "data_dir", None, "Folder of the data, if it has moved."
    )


def reject_idle(reason, *names):
    """Rejects flags that the command would ignore.

    Args:
        reason: Clause such as "without --fine_tune".
        *names: Names of flags.

    Raises:
        InputError: The command line has one of the flags.
    """
    for name in names:
        flag = flags.FLAGS[name]
        if flag.present:
            raise InputError(
                f"`{name}` has no meaning {reason}, got {flag.value!r}"
            )
