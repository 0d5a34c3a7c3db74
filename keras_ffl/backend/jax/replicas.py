"""Replicas on JAX: a single one, since one program runs on all devices."""


def num_replicas():
    """Number of replicas that take part in one update."""
    return 1


def in_strategy(model):
    """Whether a model is trained by a `tf.distribute` strategy."""
    return False


def sum_over_replicas(value):
    """The sum of a value over all replicas."""
    return value
