"""Runs a contender in a separate process.

    python -m benchmarks.worker MODULE FUNCTION OPTIONS IMPORTS

imports IMPORTS, a JSON list of modules, and calls FUNCTION of MODULE with the
options, a JSON object. The function returns a `Prepared`. Commands and answers
are lines of JSON on the standard streams.
"""

import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Callable


@dataclasses.dataclass
class Prepared:
    """A contender that is ready to run.

    Attributes:
        step: Function of no arguments that does one piece of work. It may
            return seconds that it has measured itself; otherwise its
            wall-clock time counts.
        count: Int, number of units of work (training steps) per call.
        facts: Dict of further facts to report, JSON values.
    """

    step: Callable[[], float | None]
    count: int = 1
    facts: dict = dataclasses.field(default_factory=dict)


def memory():
    """Current and peak resident memory of this process, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {
        key: int(fields[name].split()[0]) / 1024
        for key, name in (("now", "VmRSS"), ("peak", "VmHWM"))
    }


def _timed(prepared):
    start = time.perf_counter()
    measured = prepared.step()
    seconds = time.perf_counter() - start if measured is None else measured
    return seconds / prepared.count


def _serve(answers):
    module, function, options, imports = sys.argv[1:]

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    for name in json.loads(imports):
        importlib.import_module(name)
    imported = memory()
    make = getattr(importlib.import_module(module), function)
    prepared = make(**json.loads(options))
    for line in sys.stdin:
        calls = json.loads(line)["calls"]
        seconds = [_timed(prepared) for _ in range(calls)]
        answer(
            {
                "seconds": seconds,
                "facts": prepared.facts,
                "memory": {"imported": imported["now"], **memory()},
            }
        )


if __name__ == "__main__":
    # Output of libraries must not mix with the answers.
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(stream)
