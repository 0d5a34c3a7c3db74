"""Starts the commands of keras_ffl, before it and TensorFlow are imported.

A module of its own, because importing `keras_ffl` imports TensorFlow. It is the
program `keras-ffl`, and `python -m keras_ffl_launcher`.
"""

import contextlib
import importlib
import importlib.util
import os
import platform
import re
import signal
import sys

COMMANDS = {
    "train": "train networks that teach each other, or resume a run",
    "evaluate": "print the errors of every head of a run",
    "predict": "classify image files with a head of a run",
    "export": "write heads as SavedModel, LiteRT, ONNX or Keras files",
    "card": "show what an exported head is: classes, input, errors",
    "report": "write a one-page HTML report of a run",
    "gradcam": "draw what the heads of a run look at",
    "transfer": "test the features of a run on another data set",
    "reproduce": "run a table of the paper",
    "quickstart": "compare FFL with the network alone, on two CPU cores",
}
"""What each module of `keras_ffl.commands` does."""

# TensorFlow writes most formats, also for runs on another backend.
_ON_TENSORFLOW = ("export", "benchmark")

# What TensorFlow's C++ code writes to stderr on machines where all is well: all
# its information, and the errors by which it says that there is no GPU or that
# two of its libraries registered the same plug-in.
_START_UP_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|I0000 "
    rb"|E0000 .* cuda_platform\.cc.*(\(303\)|no CUDA-capable device)"
    rb"|[EW]0000 .* (cuda_(dnn|fft|blas)|computation_placer)\.cc.*register"
    rb"|\d{4}-\d\d-\d\d [\d:.]+: I "
    rb"|To enable the following instructions: "
)


def main(arguments=None):
    """Runs the command that the command line names.

    Args:
        arguments: List of str, by default those of the process.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("--help", "-h", "-help", "help"):
        print(_usage())
    elif name in COMMANDS:
        run(name, [f"keras-ffl {name}", *rest])
    else:
        print(_usage(), file=sys.stderr)
        what = f"unknown command {name!r}" if name else "no command given"
        sys.exit(f"error: {what}; the commands are listed above")


def _usage():
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return "\n".join(
        [
            "usage: keras-ffl COMMAND --flag=value ...",
            "",
            *lines,
            "",
            "keras-ffl COMMAND --help lists the flags of a command.",
        ]
    )


def run(name, arguments=None):
    """Imports a command's module and runs it.

    Args:
        name: One of `COMMANDS`.
        arguments: List of str, the name to show and the flags; by default the
            process' own.
    """
    if arguments is not None:
        sys.argv = arguments
    with starting(name):
        command = importlib.import_module(f"keras_ffl.commands.{name}")
    from keras_ffl import cli

    cli.run(command.main)


@contextlib.contextmanager
def starting(name):
    """Context in which a command imports what it needs.

    It leaves Ctrl-C to the system, chooses Keras' backend, turns TensorFlow's
    oneDNN on unless TF_ENABLE_ONEDNN_OPTS says otherwise, prints refusals of
    this package as one line, and drops TensorFlow's start-up lines unless
    `--verbose` is given or TF_CPP_MIN_LOG_LEVEL is 0 or 1.

    Args:
        name: Str, the command.
    """
    # Some imports would swallow Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    backend = os.environ.get("KERAS_BACKEND")
    if (
        name in _ON_TENSORFLOW
        and backend in (None, "jax")
        and importlib.util.find_spec("tensorflow")
    ):
        os.environ["KERAS_BACKEND"] = "tensorflow"
    if platform.machine() == "x86_64":
        # TensorFlow's own default is off on CPUs without AVX-512 VNNI and the
        # like, where a training step then takes 1.7 times as long.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    verbose = {"--verbose", "-verbose", "--verbose=true"} & set(sys.argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "2")
    loud = verbose or os.environ["TF_CPP_MIN_LOG_LEVEL"] in ("0", "1")
    # Imported already, it has nothing more to say; and stderr may be closed.
    loud = loud or "tensorflow" in sys.modules or sys.stderr is None
    try:
        with contextlib.nullcontext() if loud else without_start_up_lines():
            yield
            if tensorflow := sys.modules.get("tensorflow"):
                # Looks for GPUs, which it would report later.
                tensorflow.config.list_physical_devices()
    except ValueError as error:
        errors = sys.modules.get("keras_ffl.errors")
        if errors is None or not isinstance(error, errors.InputError):
            raise
        sys.exit(f"error: {error}")


@contextlib.contextmanager
def without_start_up_lines():
    """Context in which TensorFlow's start-up lines are dropped from stderr.

    C++ code writes them to file descriptor 2. Another process reads these and
    passes every other line on at once, so that nothing else is lost even if
    this process crashes.
    """
    reading, writing = os.pipe()
    # Ctrl-C and whatever else ends the process group reach the other process
    # too, which has to pass on what is written then.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if not child:
        _pass_on(reading, writing)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(reading)
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.write(2, _END)
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)


# Processes started in between may keep the pipe open.
_END = b"\0end of start\n"


def _pass_on(reading, writing):
    """Copies lines to stderr until the end, in the process of their reader."""
    try:
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                line, end, _ = line.partition(_END)
                if not _START_UP_LINE.match(line):
                    os.write(2, line)
                if end:
                    break
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
