"""Several processes that train one model."""

import contextlib

import keras
import numpy as np

from keras_ffl.distribution.batches import Replicas
from keras_ffl.errors import InputError, WorkerLost


def is_multi_worker(strategy):
    """Whether a strategy's replicas are in several processes."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy):
    """Whether this process is the one that writes files."""
    if not is_multi_worker(strategy):
        return True
    return strategy.cluster_resolver.task_id == 0


def process_of(strategy):
    """This process among all of a strategy's, as `Replicas`."""
    if not is_multi_worker(strategy):
        return Replicas()
    resolver = strategy.cluster_resolver
    workers = len(resolver.cluster_spec().job_tasks("worker"))
    return Replicas(resolver.task_id, 1, workers)


def sum_over_workers(strategy, values):
    """The sum of an array over all processes, which all have to call this.

    Args:
        strategy: `tf.distribute.Strategy`.
        values: float64 array of the same shape in each.

    Returns:
        Array of that shape; `values` itself where there is one process.
    """
    if not is_multi_worker(strategy):
        return values
    import tensorflow as tf

    local = strategy.num_replicas_in_sync // process_of(strategy).total
    share = tf.constant(values, tf.float64) / local
    return strategy.reduce("SUM", strategy.run(lambda: share), None).numpy()


def check_same(strategy, value, what):
    """Waits for all processes and checks that they have the same number.

    Args:
        strategy: `tf.distribute.Strategy`.
        value: Int >= 0.
        what: Str, what it is, for the message.

    Raises:
        InputError: They don't.
    """
    if not is_multi_worker(strategy):
        return
    mine = np.array([1.0, value, value**2])
    workers, total, squares = sum_over_workers(strategy, mine).tolist()
    if workers * squares != total**2:
        raise InputError(
            "all workers must have the same `workdir`, data and flags, but "
            f"{what} differs: "
            f"this worker has {value}, the mean is {total / workers:g}"
        )


@contextlib.contextmanager
def naming_lost_workers(strategy):
    """Says in one line that another process is gone.

    Args:
        strategy: `tf.distribute.Strategy`.

    Raises:
        WorkerLost: In place of TensorFlow's errors where there are several
            processes.
    """
    if not is_multi_worker(strategy):
        yield
        return
    import tensorflow as tf

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
        # The first lines of a graph's error say where in the code, not why.
        reason = next((each for each in lines if "aborted" in each), lines[0])
        raise WorkerLost(
            "another worker is gone or can't be reached; start all of them "
            f"again, training goes on from the last checkpoint ({reason})"
        ) from error
