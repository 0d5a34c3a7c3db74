"""A contender in a process of its own.

    python -m benchmarks.worker MODULE FUNCTION OPTIONS IMPORTS

calls FUNCTION of MODULE with the options, a JSON object, after it imported
IMPORTS, a JSON list of modules. The function gives a `Prepared`. Commands and
answers are lines of JSON on the standard streams.
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
        step: Function of no arguments that does one piece of work and returns
            when it is done. It may return seconds that it has measured itself;
            else its wall-clock time is taken.
        count: Int, how many units of work (training steps) one call is.
        facts: Dict of what is to be reported with it, JSON values.
    """

    step: Callable[[], float | None]
    count: int = 1
    facts: dict = dataclasses.field(default_factory=dict)


def memory():
    """Resident memory of this process now and at most, in MiB."""
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
    # What libraries print must not get between the answers.
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(stream)
