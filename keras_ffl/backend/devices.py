"""The devices of a training run, with one interface on all backends."""

import contextlib

from keras_ffl.data import Share
from keras_ffl.errors import InputError, first_line

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")
"""Names that `keras_ffl.backend.make_devices` takes."""


class Devices:
    """The devices of a training run; this base class is a single device.

    Attributes:
        count: Int >= 1, number of devices in all processes.
        replicas: Int >= 1, number of replicas of the model, each with its
            own rows of every batch. 1 if one program runs on all devices.
        process: `keras_ffl.data.Share`, this process' share of the
            evaluation on the test split.
        chief: Bool, whether this process writes the run's files.
        static_shapes: Bool, whether all batches must have the same size,
            known in advance.
    """

    count = 1
    replicas = 1
    process = Share()
    chief = True
    static_shapes = False

    def scope(self):
        """Context in which to create a model and its optimizer."""
        return contextlib.nullcontext()

    def running(self):
        """Context of a whole run.

        Raises:
            WorkerLost: Another process has ended or can't be reached.
        """
        return contextlib.nullcontext()

    def sum_over_processes(self, values):
        """Sums an array over all processes, each of which must call this.

        Args:
            values: float64 array of the same shape in each process.

        Returns:
            Array of that shape; `values` itself for a single process.
        """
        return values

    def check_same(self, value, what):
        """Waits for all processes and checks that they have the same number.

        Args:
            value: Int >= 0.
            what: Str, description of the number for the message.

        Raises:
            InputError: Their numbers differ.
        """


def check_strategy(name):
    """Raises `InputError` unless `name` is one of `STRATEGIES`."""
    if name not in STRATEGIES:
        raise InputError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}, got {name!r}"
        )


@contextlib.contextmanager
def splitting_cpu(devices, framework):
    """Context that splits the CPU into logical devices, with clear errors.

    Args:
        devices: Int, number of devices wanted.
        framework: Str, name of the framework that must not have started.

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
            f"{first_line(error)}"
        ) from error
