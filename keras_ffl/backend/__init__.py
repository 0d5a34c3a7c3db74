"""What differs by Keras' backend, chosen once, when the package is imported.

Keras' default is TensorFlow; `keras_ffl.supported` has refused all others
before. `tensorflow/` and `jax/` have the same names:

* `MethodModel`: the class under all training methods. It runs their steps.
* `said_by(error)`: what a check of a batch's values within a step says, or
  None for any other error.
* `make_devices(name)`: the devices of a training, a
  `keras_ffl.backend.devices.Devices`; `split_cpu(n)` makes several of a CPU.
* `num_replicas()`, `in_strategy(model)`, `share_of_replica(mean, count)`,
  `sum_over_replicas(value)`: what a step must know of its replicas.
* `fused_batch_norm`: the backend's kernel, or None. `momentum_kernel()`
  likewise, of SGD with momentum.
* `gradients_of(function, tensors)`, of the sum of a function's values.
* `same_size_in_step(maps, message)`: the check of sizes that are unknown while
  a step is traced.
* `has_accelerator()`: whether there is a GPU or TPU.
* `prefers_xla()`: whether steps are compiled by XLA by default.
* `make_deterministic()`: makes operations repeat bit by bit.
* `NAME`: Keras' name of the backend.
* `PACKAGES`: the packages whose versions a run writes down.
* `STEPS_IN_A_CALL`: whether a batch of arrays holds several steps
  (`keras_ffl.backend.jax.feed`) instead of Keras' counting some as one.
* `TENSORBOARD`: whether a run writes TensorBoard's logs.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_ffl.backend import jax as chosen
else:
    from keras_ffl.backend import tensorflow as chosen

from keras_ffl.backend.devices import STRATEGIES

MethodModel = chosen.MethodModel
said_by = chosen.said_by
make_devices = chosen.make_devices
split_cpu = chosen.split_cpu
num_replicas = chosen.num_replicas
in_strategy = chosen.in_strategy
share_of_replica = chosen.share_of_replica
sum_over_replicas = chosen.sum_over_replicas
fused_batch_norm = chosen.fused_batch_norm
momentum_kernel = chosen.momentum_kernel
same_size_in_step = chosen.same_size_in_step
has_accelerator = chosen.has_accelerator
prefers_xla = chosen.prefers_xla
make_deterministic = chosen.make_deterministic
gradients_of = chosen.gradients_of
NAME = chosen.NAME
PACKAGES = chosen.PACKAGES
STEPS_IN_A_CALL = chosen.STEPS_IN_A_CALL
TENSORBOARD = chosen.TENSORBOARD

__all__ = [
    "STEPS_IN_A_CALL",
    "MethodModel",
    "NAME",
    "PACKAGES",
    "STRATEGIES",
    "TENSORBOARD",
    "fused_batch_norm",
    "gradients_of",
    "has_accelerator",
    "in_strategy",
    "make_deterministic",
    "make_devices",
    "momentum_kernel",
    "num_replicas",
    "prefers_xla",
    "said_by",
    "same_size_in_step",
    "share_of_replica",
    "split_cpu",
    "sum_over_replicas",
]
