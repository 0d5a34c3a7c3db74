"""Runs cells, several at a time, each in a separate process."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import keras_ffl
from keras_ffl.errors import InputError, Unfinished
from keras_ffl.studies.tables.cells import BUSY, FAILED, STOPPED, store_failure

_PROGRAM = "keras_ffl.studies.tables.train_cell"


def shard_of(cells, shard):
    """The part of the cells for one of several machines.

    Args:
        cells: List.
        shard: Str "k/n", part k = 1..n of n parts; None for everything.

    Returns:
        List.

    Raises:
        InputError: `shard` is not of this form.
    """
    if shard is None:
        return list(cells)
    # A number of digits that Python converts without error.
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    if found:
        part, parts = map(int, found.groups())
        if 1 <= part <= parts:
            return cells[part - 1 :: parts]
    raise InputError(
        f"`shard` must be k/n with 1 <= k <= n, such as 1/3, got {shard!r}"
    )


def cpu_shares(jobs):
    """The CPUs of each job: a list of sets, or of None if they can't be set.

    Two processes with one CPU each are faster than one with two threads.

    Args:
        jobs: Int >= 1.

    Returns:
        List of `jobs` entries.
    """
    if jobs == 1 or not hasattr(os, "sched_setaffinity"):
        return [None] * jobs
    cpus = sorted(os.sched_getaffinity(0))
    if jobs >= len(cpus):
        return [{cpus[k % len(cpus)]} for k in range(jobs)]
    bounds = [k * len(cpus) // jobs for k in range(jobs + 1)]
    return [set(cpus[a:b]) for a, b in zip(bounds, bounds[1:])]


@contextlib.contextmanager
def pinned(cpus):
    """Context that pins this thread and its children to CPUs, unless None."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Job:
    """A cell that is being trained.

    Args:
        cell: `keras_ffl.studies.tables.cells.Cell`.
        cpus: Set of CPUs or None.
        imports: Names of modules for the process to import first.
    """

    def __init__(self, cell, cpus, imports):
        self.cell = cell
        self.cpus = cpus
        self.started = time.monotonic()
        cell.path.mkdir(parents=True, exist_ok=True)
        given = {
            "config": cell.config.to_dict(),
            "root": str(cell.root),
            "imports": imports,
        }
        with (cell.path / "train.log").open("ab") as log, pinned(cpus):
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", _PROGRAM, json.dumps(given)],
                # Open as long as this process lives, see `train_cell`.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                # Ctrl-C only reaches this process, which ends the others.
                start_new_session=True,
            )

    def poll(self):
        """The outcome in one line, or None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self.process.stdin.close()
        minutes = (time.monotonic() - self.started) / 60
        if code == BUSY:
            return "skipped, another process is training it"
        if code == STOPPED:
            return "stopped; the same command resumes it"
        if code == 0:
            return f"finished in {minutes:.1f} min"
        if code != FAILED:
            store_failure(self.cell.path, _ended(code))
        return f"failed: {self.cell.failure()}"

    def ask_to_stop(self):
        """Asks the process to stop after its step, see `train_cell`."""
        lock = self.cell.path / ".lock"
        if not lock.exists() or f" {self.process.pid} " not in lock.read_text():
            # It doesn't train yet.
            self.process.terminate()
            return
        # It may have ended.
        with contextlib.suppress(OSError):
            self.process.stdin.write(b".")
            self.process.stdin.flush()

    def end(self):
        """Waits a minute for the process, and kills it if it still runs."""
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()


def _environment():
    """The environment of a cell's process, which imports this same package."""
    package = str(pathlib.Path(keras_ffl.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        # Several processes may share one accelerator.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _ended(code):
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the process was killed by {name} (see train.log)"
    return f"the process ended with exit code {code} (see train.log)"


def run(cells, jobs, changed, imports=()):
    """Trains unfinished cells; a failure doesn't stop the others.

    Args:
        cells: List of `keras_ffl.studies.tables.cells.Cell`, in order.
        jobs: Int, number of cells to train at the same time.
        changed: Function of no arguments that is called after every cell.
        imports: Names of modules for each process to import first.

    Returns:
        Int, number of cells that were stopped (their process by a signal) or
        that another process trains.

    Raises:
        Unfinished: On Ctrl-C or SIGTERM. Running cells are stopped and resume
            at the next start.
    """
    handler = signal.signal(signal.SIGTERM, _interrupt)
    waiting, shares, running = list(cells), cpu_shares(jobs), []
    stopped = 0
    try:
        while waiting or running:
            while waiting and shares:
                cell = waiting.pop(0)
                if not cell.finished:
                    running.append(_Job(cell, shares.pop(0), imports))
                    _tell(cell, _starting(cell))
            time.sleep(0.2)
            for job in list(running):
                outcome = job.poll()
                if outcome is not None:
                    running.remove(job)
                    stopped += job.process.returncode in (STOPPED, BUSY)
                    shares.append(job.cpus)
                    _tell(job.cell, outcome)
                    changed()
    except KeyboardInterrupt:
        raise Unfinished("interrupted; the same command resumes") from None
    finally:
        for job in running:
            job.ask_to_stop()
        for job in running:
            job.end()
        signal.signal(signal.SIGTERM, handler)
    return stopped


def _interrupt(*_):
    raise KeyboardInterrupt


def _starting(cell):
    done = cell.epochs_done
    return f"resuming after epoch {done}" if done else "started"


def _tell(cell, message):
    print(f"{cell.name}: {message}", flush=True)
