"""Everything that depends on Keras' backend, chosen once at import.

The default is TensorFlow, the alternative JAX; `keras_ffl.supported` has
rejected all other backends before. `tensorflow/` and `jax/` define the same
names:

* `MethodModel`: the base class of all training methods, which runs their steps.
* `said_by(error)`: the message of a check of a batch's values within a step,
  None for any other error.
* `after_checks(value, checked)`: a value that a rejected batch doesn't reach.
* `make_devices(name)`: the devices of a training run, a
  `keras_ffl.backend.devices.Devices`; `split_cpu(n)` splits a CPU into several.
* `num_replicas()`, `in_strategy(model)`, `sum_over_replicas(value)`: what a
  step must know about its replicas.
* `fused_batch_norm`: the backend's kernel, or None. `momentum_kernel()`: the
  same for SGD with momentum.
* `gradients_of(function, tensors)`: gradients of a function's summed values.
* `same_size_in_step(maps, message)`: checks sizes that are unknown while a step
  is traced.
* `has_accelerator()`: whether there is a GPU or TPU.
* `has_float64()`: whether float64 is not float32 by another name.
* `prefers_xla()`: whether XLA compiles steps by default.
* `make_deterministic()`: makes operations bitwise reproducible.
* `NAME`: Keras' name of the backend.
* `PACKAGES`: the packages whose versions a run records.
* `STEPS_IN_A_CALL`: whether a batch of arrays holds several steps
  (`keras_ffl.backend.jax.feed`); otherwise Keras' `steps_per_execution` runs
  several.
* `TENSORBOARD`: whether a run writes TensorBoard logs.
"""

import keras

from keras_ffl.backend.devices import STRATEGIES as STRATEGIES

# As Keras itself does; both have the same `__all__`.
if keras.backend.backend() == "jax":
    from keras_ffl.backend.jax import *  # noqa: F403
else:
    from keras_ffl.backend.tensorflow import *  # noqa: F403
