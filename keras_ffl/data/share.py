"""The rows of every batch that a process prepares, as a value."""

import dataclasses
import itertools

import numpy as np

from keras_ffl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Share:
    """The replicas that a process feeds.

    Every batch is global: it is drawn as a whole, and each replica gets a
    slice of its rows, in order. The slices have equal sizes if possible, and
    otherwise differ by one row.

    Attributes:
        first: Int, index of the process's first replica.
        local: Int, number of its replicas.
        total: Int, number of replicas in all processes.
    """

    first: int = 0
    local: int = 1
    total: int = 1

    def slices(self, batches):
        """The slices that these replicas get of global batches.

        Args:
            batches: Integer array (batches, 2), the rows where each one
                begins and ends.

        Returns:
            Integer array (batches * local, 2), likewise; some slices
            are empty for batches with fewer rows than replicas.
        """
        start, stop = np.reshape(batches, (-1, 2)).T[:, :, None]
        replicas = np.arange(self.first, self.first + self.local)
        bounds = [
            start + number * (stop - start) // self.total
            for number in (replicas, replicas + 1)
        ]
        return np.stack(bounds, axis=-1).reshape(-1, 2)

    def rows(self, count, batch_size):
        """The indices of the rows in all slices of these replicas.

        Args:
            count: Int, number of rows.
            batch_size: Int, rows in a global batch; the last may be smaller.

        Returns:
            Integer array.
        """
        slices = self.slices(batch_bounds(count, batch_size))
        return np.concatenate([np.arange(*each) for each in slices])


def batch_bounds(count, batch_size, smallest=1):
    """The rows where the batches of an epoch begin and end.

    Args:
        count: Int, number of rows.
        batch_size: Int.
        smallest: Int, a last batch with fewer rows is dropped.

    Returns:
        Integer array (batches, 2).
    """
    starts = np.arange(0, count, batch_size)
    stops = np.minimum(starts + batch_size, count)
    kept = stops - starts >= smallest
    return np.stack([starts, stops], axis=1)[kept]


def evaluation_batch_size(examples, batch_size, replicas):
    """The wanted batch size, or one near it, that leaves no replica empty.

    Smaller sizes are tried first, then larger ones. Some of TensorFlow's
    operations fail on empty batches. Evaluation must use every example, so the
    batch size changes instead.

    Args:
        examples: Int, number of examples.
        batch_size: Int, the wanted global batch.
        replicas: Int.

    Returns:
        Int.

    Raises:
        InputError: There are fewer examples than replicas.
    """
    if examples < replicas:
        raise _too_few(examples, replicas)

    def fits(size):
        return not 0 < examples % size < replicas

    wanted = max(batch_size, replicas)
    sizes = itertools.chain(
        range(wanted, replicas - 1, -1), range(wanted + 1, examples + 1)
    )
    return next(size for size in sizes if fits(size))


def static_evaluation_batch_size(examples, batch_size, replicas):
    """The evaluation batch size if all batches must have the same size.

    Args:
        examples: Int, number of examples.
        batch_size: Int, the wanted global batch.
        replicas: Int.

    Returns:
        Int, the multiple of `replicas` between half the wanted size and that
        size which drops the fewest examples at the end (none if it divides
        `examples`); the largest of several such.

    Raises:
        InputError: There are fewer examples than replicas.
    """
    if examples < replicas:
        raise _too_few(examples, replicas)
    largest = max(min(batch_size, examples) // replicas, 1)
    sizes = range(largest, (largest - 1) // 2, -1)
    return replicas * min(sizes, key=lambda size: examples % (replicas * size))


def _too_few(examples, replicas):
    return InputError(
        f"evaluation needs at least one example for each of the {replicas} "
        f"replicas, got {examples}"
    )
