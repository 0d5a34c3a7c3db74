"""Scripts that run in the test's own process, as if started by a user."""

import pathlib
import runpy
import signal
import sys

from absl import flags

from keras_ffl import cli  # noqa: F401  (its flags stay)

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
        # The next script defines flags of the same names.
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
        for name in list(sys.modules):
            if name.startswith("keras_ffl.commands."):
                del sys.modules[name]
    return 0
