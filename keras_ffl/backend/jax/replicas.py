"""Replicas on JAX: one, since one program runs on all devices."""


def num_replicas():
    """Number of replicas that take part in one update."""
    return 1


def in_strategy(model):
    """Whether a model is trained by a `tf.distribute` strategy."""
    return False


def share_of_replica(mean, count):
    """What a replica adds to the mean over the global batch: all of it."""
    return mean


def sum_over_replicas(value):
    """The sum of what every replica has."""
    return value
