"""Global batches, and the part of each replica in them."""

import dataclasses
import functools
import itertools

import numpy as np

from keras_ffl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Replicas:
    """Which replicas a process feeds.

    Attributes:
        first: Int, number of its first replica.
        local: Int, how many it has.
        total: Int, how many all processes have.
    """

    first: int = 0
    local: int = 1
    total: int = 1

    def rows(self, count, batch_size):
        """Indices of the rows that `slices_of_replicas` gives these replicas.

        Args:
            count: Int, number of rows.
            batch_size: Int, rows in a global batch; the last may be smaller.

        Returns:
            Integer array.
        """
        rows = []
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            first, _ = self.bounds(self.first, size)
            _, stop = self.bounds(self.first + self.local - 1, size)
            rows.append(np.arange(start + first, start + stop))
        return np.concatenate(rows)

    def bounds(self, replica, count):
        """The first row of a replica in `count` rows, and that after it."""
        start, after = replica * count, (replica + 1) * count
        return start // self.total, after // self.total


def slices_of_replicas(batches, replicas, smallest=0):
    """Splits global batches into those of a process's replicas, in order.

    Args:
        batches: `tf.data.Dataset` of structures of tensors with a common
            first axis, the global batch.
        replicas: `Replicas`.
        smallest: Int, a batch of fewer rows (an epoch's last one) is left
            out.

    Returns:
        `tf.data.Dataset` with `replicas.local` elements for each one of
        `batches`, of equal size where that is possible, else with a
        difference of one row. Of batches with fewer rows than replicas some
        are empty.
    """
    import tensorflow as tf

    def count(*element):
        return tf.shape(tf.nest.flatten(element)[0], tf.int64)[0]

    def split(*element):
        def cut(replica):
            start, stop = replicas.bounds(replica, count(*element))
            parts = tf.nest.map_structure(lambda t: t[start:stop], element)
            return parts if len(parts) > 1 else parts[0]

        numbers = tf.data.Dataset.range(
            replicas.first, replicas.first + replicas.local
        )
        return numbers.map(cut)

    if smallest:
        batches = batches.filter(lambda *e: count(*e) >= smallest)
    return batches if replicas.total == 1 else batches.flat_map(split)


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


def distribute(strategy, make_batches, smallest=0, static_size=None):
    """Batches for `fit` under a strategy.

    Args:
        strategy: `tf.distribute.Strategy`.
        make_batches: Function that gives a `tf.data.Dataset`. Its argument is
            a function that the data set of global batches (or of their
            indices) has to go through, or None.
        smallest: As of `slices_of_replicas`.
        static_size: Int, the size of a global batch where all are to be of
            this size, a multiple of the number of replicas, and to say so in
            their static shape. Smaller ones are left out.

    Returns:
        `tf.data.Dataset` or `tf.distribute.DistributedDataset`.
    """
    total = strategy.num_replicas_in_sync
    if total == 1 and static_size is None:
        return make_batches(None)

    def make(replicas):
        batches = make_batches(
            functools.partial(
                slices_of_replicas,
                replicas=replicas,
                smallest=static_size or smallest,
            )
        )
        if static_size is None:
            return batches
        return with_static_rows(batches, static_size // total)

    if total == 1:
        return make(Replicas())

    def make_in(context):
        local = total // context.num_input_pipelines
        return make(Replicas(context.input_pipeline_id * local, local, total))

    return strategy.distribute_datasets_from_function(make_in)


def with_static_rows(batches, rows):
    """Batches whose static shape says how many rows they have.

    Args:
        batches: `tf.data.Dataset` of structures of tensors, all of whose
            first axes have the size `rows`.
        rows: Int.

    Returns:
        `tf.data.Dataset`.
    """
    import tensorflow as tf

    def stated(*element):
        element = tf.nest.map_structure(
            lambda t: tf.ensure_shape(t, (rows, *t.shape[1:])), element
        )
        return element if len(element) > 1 else element[0]

    return batches.map(stated)
