"""Measures the speed of training, prediction and startup on this machine.

Every figure is a ratio of contenders that ran in turns, because the speed of
a machine drifts; run it alone on the machine. The opponent PyTorch needs the
extra "torch".

    python scripts/benchmark.py --part=step
    python scripts/benchmark.py --part=step,inference --json > speed.json
"""

import json
import sys

from keras_ffl_launcher import starting

with starting("benchmark"):
    from absl import flags
    from benchmarks import (
        arithmetic,
        inference,
        input_arrays,
        memory,
        saving,
        scaling,
        startup,
        step,
    )
    from benchmarks import input as input_part
    from benchmarks.printout import describe_machine, format_part

    from keras_ffl import backend, cli
    from keras_ffl.errors import InputError

PARTS = {
    "step": step.run,
    "step.saving": saving.run,
    "input": lambda rounds: input_part.run(rounds, _DATA_DIR.value),
    "input.arrays": input_arrays.run,
    "inference": inference.run,
    "scaling": scaling.run,
    "scaling.branches": lambda rounds: scaling.run(rounds, [scaling.branches]),
    "scaling.methods": lambda rounds: scaling.run(rounds, [scaling.methods]),
    "scaling.networks": lambda rounds: scaling.run(rounds, [scaling.networks]),
    "scaling.arithmetic": arithmetic.run,
    "memory": memory.run,
    "startup": startup.run,
}
"""Functions of the number of rounds; `printout.format_part` has their dict."""

_PART = flags.DEFINE_list(
    "part",
    [name for name in PARTS if "." not in name],
    f"Parts to run: {', '.join(PARTS)}; by default all, each once.",
    allow_overwrite=False,
)
_ROUNDS = flags.DEFINE_integer(
    "rounds",
    8,
    "Number of rounds in which the contenders take turns.",
    lower_bound=1,
    upper_bound=cli.MOST,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of JPEG files for the part input, by default the two that come "
    "with scikit-learn.",
)
_JSON = flags.DEFINE_bool(
    "json", False, "Print one JSON object, and the tables to stderr."
)


def main():
    """Runs the parts and prints the results."""
    if backend.NAME != "tensorflow":
        raise InputError("the benchmark needs tensorflow: not installed")
    for name in _PART.value:
        if name not in PARTS:
            raise InputError(
                f"`part` must be one of {', '.join(PARTS)}, got {name!r}"
            )
    machine = describe_machine()
    results = {}
    for name in _PART.value:
        results[name] = PARTS[name](_ROUNDS.value)
        # Also with --json, so that an interrupted run has shown its results.
        stream = sys.stderr if _JSON.value else sys.stdout
        print(
            format_part(name, results[name], machine), file=stream, flush=True
        )
    if _JSON.value:
        ratios = {
            ratio: value["median"]
            for part in results.values()
            for ratio, value in part["ratios"].items()
        }
        print(json.dumps({**machine, "parts": results, "ratios": ratios}))


if __name__ == "__main__":
    cli.run(main)
