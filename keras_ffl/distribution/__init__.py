"""Devices and workers: strategies, and what replicas have in common."""

from keras_ffl.distribution.batches import (
    Replicas,
    distribute,
    evaluation_batch_size,
    slices_of_replicas,
    static_evaluation_batch_size,
)
from keras_ffl.distribution.jax_devices import (
    JaxDevices,
    count_devices,
    running_on,
)
from keras_ffl.distribution.replicas import (
    agreed_if_finite,
    first_of_replica,
    function_of_replicas,
    in_strategy,
    num_replicas,
    share_of_replica,
    sum_over_replicas,
)
from keras_ffl.distribution.strategies import (
    STRATEGIES,
    make_strategy,
    needs_static_shapes,
    split_cpu,
)
from keras_ffl.distribution.workers import (
    check_same,
    is_chief,
    is_multi_worker,
    naming_lost_workers,
    process_of,
    sum_over_workers,
)

__all__ = [
    "JaxDevices",
    "Replicas",
    "STRATEGIES",
    "agreed_if_finite",
    "check_same",
    "count_devices",
    "distribute",
    "evaluation_batch_size",
    "first_of_replica",
    "function_of_replicas",
    "in_strategy",
    "is_chief",
    "is_multi_worker",
    "make_strategy",
    "naming_lost_workers",
    "needs_static_shapes",
    "num_replicas",
    "process_of",
    "running_on",
    "share_of_replica",
    "slices_of_replicas",
    "split_cpu",
    "static_evaluation_batch_size",
    "sum_over_replicas",
    "sum_over_workers",
]
