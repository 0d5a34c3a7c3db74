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
