"""Scripts that run in the test's own process, as if started by a user."""

import pathlib
import runpy
import signal
import sys

from absl import flags

from keras_ffl import cli  # noqa: F401  (its flags stay)

_COMMANDS = "keras_ffl.commands."
_SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def run_here(script, arguments, monkeypatch):
    """Runs a script in this process.

    Its imports are those of this process, which saves their time.

    Args:
        script: Name of a file in `scripts`.
        arguments: Its flags.
        monkeypatch: pytest's.

    Returns:
        The exit status.

    Raises:
        Exception: Any that a user would see as a traceback.
    """
    forget_commands()
    known = set(flags.FLAGS)
    handler = signal.getsignal(signal.SIGINT)
    path = str(_SCRIPTS / script)
    monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as exit:
        return exit.code or 0
    finally:
        signal.signal(signal.SIGINT, handler)
        forget_commands()
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
    return 0


def forget_commands():
    """Removes commands that were imported, whose flags have common names."""
    own = flags.FLAGS.flags_by_module_dict()
    for module in [name for name in sys.modules if name.startswith(_COMMANDS)]:
        del sys.modules[module]
        for flag in own.get(module, []):
            if flag.name in flags.FLAGS:
                delattr(flags.FLAGS, flag.name)
