"""What several processes that train one model have to agree on."""

import contextlib

import numpy as np

from keras_ffl.data import Share
from keras_ffl.errors import InputError, WorkerLost
from keras_ffl.optional import tensorflow as tf


class Workers:
    """The part of `Devices` that differs where there are several processes.

    Attributes:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`.
    """

    @property
    def process(self):
        """This process among all, as `keras_ffl.data.Share`."""
        resolver = self.strategy.cluster_resolver
        workers = len(resolver.cluster_spec().job_tasks("worker"))
        return Share(resolver.task_id, 1, workers)

    @property
    def chief(self):
        """Whether this process writes the run's files."""
        return self.process.first == 0

    def sum_over_processes(self, values):
        """As of `Devices`."""
        local = self.strategy.num_replicas_in_sync // self.process.total
        share = tf.constant(values, tf.float64) / local
        return self.strategy.reduce(
            "SUM", self.strategy.run(lambda: share), None
        ).numpy()

    def check_same(self, value, what):
        """As of `Devices`."""
        mine = np.array([1.0, value, value**2])
        workers, total, squares = self.sum_over_processes(mine).tolist()
        if workers * squares != total**2:
            raise InputError(
                "all workers must have the same `workdir`, data and flags, but "
                f"{what} differs: "
                f"this worker has {value}, the mean is {total / workers:g}"
            )

    @contextlib.contextmanager
    def running(self):
        """As of `Devices`; TensorFlow's errors become a `WorkerLost`."""
        lost = (
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
            tf.errors.UnavailableError,
        )
        try:
            yield
        except lost as error:
            lines = str(error).strip().splitlines()
            # The first lines of a graph's error say where in the code it
            # happened, not why.
            reason = next(
                (each for each in lines if "aborted" in each), lines[0]
            )
            raise WorkerLost(
                "another worker is gone or can't be reached; start all of them "
                "again, training resumes from the last checkpoint "
                f"({reason})"
            ) from error
