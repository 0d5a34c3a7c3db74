"""Global batches, and the part of each replica in them."""

from keras_ffl.distribution.batches import (
    Replicas,
    distribute,
    evaluation_batch_size,
    slices_of_replicas,
    static_evaluation_batch_size,
)

__all__ = [
    "Replicas",
    "distribute",
    "evaluation_batch_size",
    "slices_of_replicas",
    "static_evaluation_batch_size",
]
