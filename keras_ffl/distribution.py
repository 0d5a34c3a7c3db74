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


def in_strategy():
    """Whether the code runs in the scope of a `tf.distribute` strategy.

    Returns:
        Bool.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()
