"""Contenders that take turns, and the ratios of their times."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

from keras_ffl.errors import FFLError


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something to measure, and how to start it.

    Attributes:
        name: Its name in tables and ratios.
        function: Str, `module:function`; the function takes `options` and
            returns a `benchmarks.worker.Prepared`.
        options: Dict of keyword arguments, JSON values.
        environment: Dict of environment variables of its process.
        imports: Modules whose memory counts as imports, not as work.
        calls: Int, calls of its step per round.
        warmup: Int, calls that aren't measured.
    """

    name: str
    function: str
    options: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    imports: tuple[str, ...] = ()
    calls: int = 3
    warmup: int = 3


class Process:
    """A contender's process; `ask` makes it work."""

    def __init__(self, contender):
        self.contender = contender
        scripts = str(pathlib.Path(__file__).parents[1])
        module, function = contender.function.split(":")
        known = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "benchmarks.worker", module, function),
                json.dumps(contender.options),
                json.dumps(contender.imports),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "TF_CPP_MIN_LOG_LEVEL": "2",
                **os.environ,
                "PYTHONPATH": f"{scripts}:{known}" if known else scripts,
                **contender.environment,
            },
        )

    def start(self, calls):
        """Starts the given number of calls of the contender's step."""
        self._process.stdin.write(json.dumps({"calls": calls}) + "\n")
        self._process.stdin.flush()

    def finish(self):
        """Waits for the calls; returns the worker's answer, a dict."""
        line = self._process.stdout.readline()
        if not line:
            raise FFLError(f"contender {self.contender.name} failed")
        return json.loads(line)

    def ask(self, calls):
        """Starts calls and waits for the answer."""
        self.start(calls)
        return self.finish()

    def close(self):
        """Ends the process."""
        self._process.communicate()


def take_turns(contenders, rounds):
    """Runs the contenders in turns, each in a separate process.

    All are built and warmed up first; then only one runs at any time.

    Args:
        contenders: List of `Contender`s.
        rounds: Int, number of turns of each contender.

    Returns:
        Dict from name to `{"seconds": list of the rounds' medians, "facts":
        dict, "memory": dict}`.
    """
    processes = [Process(contender) for contender in contenders]
    try:
        for process in processes:
            process.start(process.contender.warmup)
        answers = {p.contender.name: p.finish() for p in processes}
        for answer in answers.values():
            answer["seconds"] = []
        for _ in range(rounds):
            for process in processes:
                answer = process.ask(process.contender.calls)
                result = answers[process.contender.name]
                result["facts"] = answer["facts"]
                result["memory"] = answer["memory"]
                result["seconds"].append(statistics.median(answer["seconds"]))
    finally:
        for process in processes:
            process.close()
    return answers


def spread(values):
    """Median, smallest and largest of some numbers, a dict."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
    }


def ratio(first, second):
    """The ratio of two contenders' times, round by round.

    Args:
        first: List of a contender's seconds, one per round.
        second: List of the other's seconds in the same rounds.

    Returns:
        Dict of the ratios' median, low and high.
    """
    return spread([a / b for a, b in zip(first, second)])


def best_of(results, names):
    """The name with the smallest median among those that ran."""
    return min(names, key=lambda n: statistics.median(results[n]["seconds"]))


def has_torch():
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


MATMUL = Contender("matmul", "benchmarks.contenders:matmul", calls=1, warmup=1)
"""Its times are the seconds per GFLOP."""
