"""What a model must know about its replicas."""

import keras
import numpy as np

from keras_ffl.backend.counting import optimizers_in
from keras_ffl.optional import tensorflow as tf


def num_replicas():
    """Number of replicas that take part in one update.

    Returns:
        Int >= 1; more than 1 only within a `tf.distribute` strategy.
    """
    return tf.distribute.get_strategy().num_replicas_in_sync


def in_strategy(model):
    """Whether a model is trained by a `tf.distribute` strategy.

    Args:
        model: `keras.Model`.

    Returns:
        Bool, True in a strategy's scope and for models made in one.
    """
    made_in = model.distribute_strategy
    return tf.distribute.has_strategy() or (
        made_in is not tf.distribute.get_strategy()
    )


def share_of_replica(mean, count):
    """A replica's share of the mean over the global batch.

    Replicas may have different numbers of samples, for example in the last
    batch of an epoch. With equal numbers this is `mean / num_replicas()`.

    Args:
        mean: Scalar tensor, the mean over the replica's samples.
        count: Int or scalar tensor, the number of those samples.

    Returns:
        Scalar tensor; `mean` itself for a single replica.
    """
    if num_replicas() == 1:
        return mean
    count = keras.ops.cast(count, mean.dtype)
    return mean * (count / sum_over_replicas(count))


def sum_over_replicas(value):
    """The sum of a value over all replicas, each of which must call this.

    Args:
        value: Float tensor of the same shape in each, or a list of such.

    Returns:
        The same structure; `value` itself for a single replica.
        Gradients flow through it.
    """
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    if context is None:
        # Keras builds models symbolically, outside of any replica.
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def clipped_as_one(optimizer, gradients, variables):
    """Clips replicas' shares of gradients as their sum would be on one device.

    Keras clips each replica's share by itself, before they are summed, and of
    an embedding every row that a sample takes, before equal rows are summed.

    Args:
        optimizer: Built `keras.optimizers.Optimizer` that they were scaled by.
        gradients: List of tensors or None, a replica's share.
        variables: List of the `keras.Variable`s that they belong to.

    Returns:
        List of the same structure: equal shares of the clipped sum, which
        Keras' own clipping leaves as they are. For a single replica they are
        not clipped yet, and sparse ones are dense. `gradients` itself for an
        optimizer that doesn't clip.
    """
    clipping = {
        number: part
        for number, part in enumerate(optimizers_in(optimizer))
        if part.clipnorm or part.global_clipnorm or part.clipvalue
    }
    if not clipping:
        return gradients
    gradients = _dense(gradients)
    if num_replicas() == 1:
        return gradients
    scale = optimizer.scale_loss(1.0)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    # Which of the optimizers updates a weight.
    numbers = getattr(inner, "_var_to_optimizer_idx", {})
    for number, part in clipping.items():
        places = [
            k
            for k, variable in enumerate(variables)
            if gradients[k] is not None
            and numbers.get(inner._var_key(variable), 0) == number
        ]
        if not places:
            continue
        known = sum_over_replicas([gradients[k] / scale for k in places])
        for k, clipped in zip(places, part._clip_gradients(known)):
            gradients[k] = clipped * (scale / num_replicas())
    return gradients


def agreed_if_finite(gradients):
    """Makes gradients NaN on all replicas if they aren't finite on one.

    Keras' `LossScaleOptimizer` decides whether to skip a step from one
    replica's gradients, before they are summed. So all replicas must agree.

    Args:
        gradients: List of tensors or None.

    Returns:
        List of the same structure; `gradients` itself for a single replica.
    """
    if num_replicas() == 1:
        return gradients
    gradients = _dense(gradients)
    ops = keras.ops
    finite = ops.all(
        ops.stack(
            [ops.all(ops.isfinite(g)) for g in gradients if g is not None]
        )
    )
    wrong = sum_over_replicas(1.0 - ops.cast(finite, "float32"))
    return [
        g if g is None else ops.where(wrong > 0, ops.full_like(g, np.nan), g)
        for g in gradients
    ]


def _dense(gradients):
    """Those of embeddings are sparse."""
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]


def function_of_replicas(strategy, step, steps_per_execution=1):
    """The function that `fit` or `evaluate` call per batch under a strategy.

    Keras' way of reducing a step's results fails for scalars of several
    processes (keras-team/keras#20585). Any strategy uses this function, even
    with one device per process, so that tests with replicas in one process
    cover the code that runs in several.

    Args:
        strategy: `tf.distribute.Strategy`.
        step: Function from a batch to a dict of scalars.
        steps_per_execution: Int >= 1.

    Returns:
        Function from an iterator of distributed batches to the dict, each
        value averaged over the replicas.
    """

    def step_of_batch(batch):
        # Without this, the metrics of a batch after the last are counted.
        parts = [part for part in tf.nest.flatten(batch) if part is not None]
        with tf.control_dependencies(parts):
            return step(batch)

    def one_step(batch):
        outputs = strategy.run(step_of_batch, args=(batch,))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in outputs.items()
        }

    @tf.function
    def several_steps(iterator):
        for _ in tf.range(steps_per_execution - 1):
            strategy.run(step_of_batch, args=(next(iterator),))
        return one_step(next(iterator))

    one_step_of_batch = tf.function(one_step)

    def execute(iterator):
        if isinstance(iterator, tf.distribute.DistributedIterator):
            return several_steps(iterator)
        # `train_on_batch` passes a generator.
        return one_step_of_batch(next(iterator))

    return execute


def first_of_replica(strategy, batches):
    """The first batch of this process's first replica.

    Args:
        strategy: `tf.distribute.Strategy`.
        batches: `tf.distribute.DistributedDataset`.

    Returns:
        Structure of tensors.
    """
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0],
        next(iter(batches)),
    )
