"""What several processes that train one model must agree on."""

import contextlib

import numpy as np

from keras_ffl.data import Share
from keras_ffl.errors import InputError, WorkerLost
from keras_ffl.optional import tensorflow as tf


class Workers:
    """The part of `Devices` that differs with several processes.

    Attributes:
        strategy: `tf.distribute.MultiWorkerMirroredStrategy`.
    """

    @property
    def process(self):
        """This process' `keras_ffl.data.Share` among all processes."""
        resolver = self.strategy.cluster_resolver
        workers = len(resolver.cluster_spec().job_tasks("worker"))
        return Share(resolver.task_id, 1, workers)

    @property
    def chief(self):
        """Whether this process writes the run's files."""
        return self.process.first == 0

    def sum_over_processes(self, values):
        """As in `Devices`."""
        local = self.strategy.num_replicas_in_sync // self.process.total

        # Exact only if one replica of a process has the whole part. A tensor
        # that its replicas share would be added once, not by each.
        def part():
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % local == 0
            return tf.cast(first, tf.float64) * tf.constant(values, tf.float64)

        parts = self.strategy.run(part)
        return self.strategy.reduce("SUM", parts, None).numpy()

    def check_same(self, value, what):
        """As in `Devices`."""
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
        """As in `Devices`; turns TensorFlow's errors into `WorkerLost`."""
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
            # The first lines of a graph's error say where in the code it was
            # raised, not why.
            reason = next(
                (each for each in lines if "aborted" in each), lines[0]
            )
            raise WorkerLost(
                "another worker has ended or can't be reached; restart all of "
                "them to resume training from the last checkpoint "
                f"({reason})"
            ) from error
