"""What differs by Keras' backend, chosen once, when the package is imported.

Keras' default is TensorFlow; `keras_ffl.supported` has refused all others
before. Each module has the same names:

* `MethodModel`: the class under all training methods. It runs their steps.
* `has_accelerator()`: whether there is a GPU or TPU.
* `prefers_xla()`: whether steps are compiled by XLA by default.
* `make_deterministic()`: makes operations repeat bit by bit.
* `PACKAGES`: the packages whose versions a run writes down.
* `DATA_ON_DEVICE`: whether arrays are trained on from the device's memory
  (`keras_ffl.data.in_memory`) instead of through tf.data.
* `TENSORBOARD`: whether a run writes TensorBoard's logs.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_ffl.backend import jax as chosen
else:
    from keras_ffl.backend import tensorflow as chosen

MethodModel = chosen.MethodModel
has_accelerator = chosen.has_accelerator
prefers_xla = chosen.prefers_xla
make_deterministic = chosen.make_deterministic
PACKAGES = chosen.PACKAGES
DATA_ON_DEVICE = chosen.DATA_ON_DEVICE
TENSORBOARD = chosen.TENSORBOARD

__all__ = [
    "DATA_ON_DEVICE",
    "MethodModel",
    "PACKAGES",
    "TENSORBOARD",
    "has_accelerator",
    "make_deterministic",
    "prefers_xla",
]
