"""Runs that are killed, terminated and interrupted at random moments."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from support.processes import environment

from keras_ffl.workdir import Workdir

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "train.py"
SIGNALS = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# So often each run below is stopped; all together 117 times.
STOPS = int(os.environ.get("KERAS_FFL_STOPS", 13))
# A run's process has this long to stop by itself.
LIMIT = 10
CASES = [
    *(
        ("tensorflow", method)
        for method in ("ffl", "vanilla", "dualnet", "dml", "one", "pcl")
    ),
    ("tensorflow", "mixed_float16"),
    *(("jax", method) for method in ("ffl", "dualnet")),
]


def command(case, workdir):
    backend, what = case
    options = ["--method=" + what]
    if what == "mixed_float16":
        options = ["--method=dml", "--set=dtype_policy=mixed_float16"]
    return [
        sys.executable,
        str(SCRIPT),
        "--preset=quickstart",
        "--deterministic",
        "--save_every_minutes=0.01",
        "--verbose",
        "--set=epochs=8",
        "--set=batch_size=64",
        "--set=lr_milestones=4,6",
        "--set=warmup_epochs=1.5",
        f"--workdir={workdir}",
        *options,
    ]


def start(case, workdir):
    return subprocess.Popen(
        command(case, workdir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(KERAS_BACKEND=case[0]),
        text=True,
    )


def finish(case, workdir):
    with start(case, workdir) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output


def state(path):
    """Everything that two runs have to have in common."""
    model = Workdir(path).load_model()
    values = [
        keras.ops.convert_to_numpy(variable)
        for variable in (*model.variables, *model.optimizer.variables)
    ]
    metrics = Workdir(path).read_metrics()
    metrics.pop("seconds_per_epoch")
    return values, Workdir(path).history.read_text(), json.dumps(metrics)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_stopped_at_random_moments(case, tmp_path):
    moments = random.Random("-".join(case))
    started = time.monotonic()
    with start(case, tmp_path / "whole") as process:
        while "Epoch 1/" not in process.stdout.readline():
            assert process.poll() is None
        start_up = time.monotonic() - started
        process.communicate()
    seconds = time.monotonic() - started - start_up
    cut, stops, longest = tmp_path / "cut", 0, 0.0
    while stops < STOPS and not Workdir(cut).metrics.exists():
        number = moments.choice(SIGNALS)
        # Now and then before the training, most often within it.
        moment = start_up * moments.choice((moments.random(), 1, 1, 1))
        moment += seconds * moments.uniform(0, 2 / STOPS)
        with start(case, cut) as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                sent = time.monotonic()
                output, _ = process.communicate()
                took = time.monotonic() - sent
                stops += 1
        if process.returncode == 75:
            longest = max(longest, took)
            assert "the same command resumes" in output.splitlines()[-1]
            assert "Traceback" not in output
            assert took < LIMIT
        else:
            # Before the training, after it, or killed.
            assert process.returncode in (0, -number), output
        assert len(list(cut.glob("checkpoints/*step*"))) <= 3
    finish(case, cut)
    print(f"\n{case}: {stops} stops, at most {longest:.1f} s after a signal")
    for found, expected in zip(state(cut), state(tmp_path / "whole")):
        np.testing.assert_equal(found, expected)
    assert not list(cut.glob("checkpoints/*step*"))
    assert not list(cut.glob("**/unfinished_*"))
