"""What the rest of the package has to know about replicas."""

import keras


def num_replicas():
    """Number of replicas that take part in one update.

    Returns:
        Int >= 1; more than 1 only within a `tf.distribute` strategy.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def in_strategy(model):
    """Whether a model is trained by a `tf.distribute` strategy.

    Args:
        model: `keras.Model`.

    Returns:
        Bool, true in a strategy's scope and for a model that was made there.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    made_in = model.distribute_strategy
    return tf.distribute.has_strategy() or (
        made_in is not tf.distribute.get_strategy()
    )


def share_of_replica(mean, count):
    """What a replica adds to the mean over the global batch.

    Replicas may have different numbers of samples, as in the last batch of
    an epoch. With equal numbers this is `mean / num_replicas()`.

    Args:
        mean: Scalar tensor, the mean over the replica's samples.
        count: Int or scalar tensor, how many they are.

    Returns:
        Scalar tensor; `mean` itself where there is one replica.
    """
    if num_replicas() == 1:
        return mean
    import tensorflow as tf

    count = keras.ops.cast(count, mean.dtype)
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return mean * (count / total)
