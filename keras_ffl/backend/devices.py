"""The devices of a training: one object with one interface on each backend."""

import contextlib

from keras_ffl.data import Share
from keras_ffl.errors import InputError

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")
"""Names that `keras_ffl.backend.make_devices` takes."""


class Devices:
    """The devices of a training; this class stands for one device.

    Attributes:
        count: Int >= 1, devices in all processes.
        replicas: Int >= 1, replicas of the model, each with rows of its own
            of every batch. 1 where one program runs on all devices.
        process: `keras_ffl.data.Share`, the share of this process
            in the evaluation of the test split.
        chief: Bool, whether this process writes the run's files.
        static_shapes: Bool, whether every batch must have one size that is
            known beforehand.
    """

    count = 1
    replicas = 1
    process = Share()
    chief = True
    static_shapes = False

    def scope(self):
        """Context in which a model and its optimizer are made."""
        return contextlib.nullcontext()

    def running(self):
        """Context of a whole run.

        Raises:
            WorkerLost: Another process is gone.
        """
        return contextlib.nullcontext()

    def sum_over_processes(self, values):
        """The sum of an array over all processes, which all must call this.

        Args:
            values: float64 array of the same shape in each process.

        Returns:
            Array of that shape; `values` itself where there is one process.
        """
        return values

    def check_same(self, value, what):
        """Waits for all processes and checks that they have the same number.

        Args:
            value: Int >= 0.
            what: Str, what the number is, for the message.

        Raises:
            InputError: They have different numbers.
        """


def check_strategy(name):
    """An InputError unless `name` is one of `STRATEGIES`."""
    if name not in STRATEGIES:
        raise InputError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}, got {name!r}"
        )


@contextlib.contextmanager
def splitting_cpu(devices, framework):
    """Context that splits the CPU into logical devices, with clear errors.

    Args:
        devices: Int, how many are asked for.
        framework: Str, what must not have started yet.

    Raises:
        InputError: `devices` is smaller than 1, or the framework has started.
    """
    if devices < 1:
        raise InputError(f"`logical_cpus` must be at least 1, got {devices}")
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"`logical_cpus` must be set before {framework} starts: "
            f"{str(error).splitlines()[0]}"
        ) from error
