"""Which rows of every batch a process prepares, as a value."""

import dataclasses
import itertools

import numpy as np

from keras_ffl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Share:
    """The replicas that a process feeds.

    Every batch is global: it is drawn as a whole, and each replica gets a
    slice of its rows, in order. The slices are of equal size where that is
    possible, else they differ by one row.

    Attributes:
        first: Int, number of the process's first replica.
        local: Int, how many it has.
        total: Int, how many all processes have.
    """

    first: int = 0
    local: int = 1
    total: int = 1

    def slices(self, batches):
        """The slices of these replicas in global batches.

        Args:
            batches: Integer array `(batches, 2)`, the rows where each one
                begins and ends.

        Returns:
            Integer array `(batches * local, 2)`, likewise; of batches with
            fewer rows than replicas some slices are empty.
        """
        start, stop = np.reshape(batches, (-1, 2)).T[:, :, None]
        replicas = np.arange(self.first, self.first + self.local)
        bounds = [
            start + number * (stop - start) // self.total
            for number in (replicas, replicas + 1)
        ]
        return np.stack(bounds, axis=-1).reshape(-1, 2)

    def rows(self, count, batch_size):
        """Numbers of the rows in all slices of these replicas.

        Args:
            count: Int, number of rows.
            batch_size: Int, rows in a global batch; the last may be smaller.

        Returns:
            Integer array.
        """
        slices = self.slices(batch_bounds(count, batch_size))
        return np.concatenate([np.arange(*each) for each in slices])


def batch_bounds(count, batch_size, smallest=1):
    """Where the batches of an epoch begin and end.

    Args:
        count: Int, number of rows.
        batch_size: Int.
        smallest: Int, a last batch of fewer rows is left out.

    Returns:
        Integer array `(batches, 2)`.
    """
    starts = np.arange(0, count, batch_size)
    stops = np.minimum(starts + batch_size, count)
    kept = stops - starts >= smallest
    return np.stack([starts, stops], axis=1)[kept]


def evaluation_batch_size(examples, batch_size, replicas):
    """The batch size next to a wanted one that leaves no replica empty.

    The next smaller one, or where there is none the next larger one.

    Some of TensorFlow's operations fail on batches without a row. In
    evaluation no example may be left out, so the batches change instead.

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
    """The batch size for evaluation where all batches must be of one size.

    Args:
        examples: Int, number of examples.
        batch_size: Int, the wanted global batch.
        replicas: Int.

    Returns:
        Int: of the multiples of `replicas` from half the wanted size up to
        it, the largest that leaves out the fewest examples at the end; none
        if it divides `examples`.

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
        f"evaluation needs an example for each of the {replicas} replicas, "
        f"got {examples}"
    )
