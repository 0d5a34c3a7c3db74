"""Data parallelism on JAX: `keras.distribution` over the devices."""

import jax
import keras

from keras_ffl.backend.devices import Devices, check_strategy, splitting_cpu
from keras_ffl.errors import InputError


class JaxDevices(Devices):
    """Devices that run one program together.

    The program computes the same as on one device, batch normalisation
    statistics included, and the compiler splits the work by the rows of a
    batch. So there is one replica.

    Args:
        names: List of str, the devices' names in Keras.
    """

    def __init__(self, names):
        self.names = names
        self.count = len(names)

    def running(self):
        """Context of a whole run: variables and data live on the devices."""
        if self.count == 1:
            return super().running()
        return AllDevices(devices=self.names, auto_shard_dataset=False).scope()


class AllDevices(keras.distribution.DataParallel):
    """`DataParallel` that replicates the arrays that it can't split."""

    def get_data_layout(self, data_shape):
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.device_mesh.devices.size:
            axes = [None] * len(data_shape)
            layout = keras.distribution.TensorLayout(axes, self.device_mesh)
        return layout


def make_devices(name="auto"):
    """Makes the devices of a named strategy.

    Args:
        name: "one": the first device. "mirrored": all devices. "auto": all
            accelerators, else one CPU.

    Returns:
        `JaxDevices`.

    Raises:
        InputError: The name is unknown or only available on TensorFlow, or
            "mirrored" finds a single device.
    """
    check_strategy(name)
    if name not in ("auto", "one", "mirrored"):
        raise InputError(
            "`strategy` must be auto, one or mirrored with Keras' backend jax, "
            f"got {name!r}"
        )
    names = keras.distribution.list_devices()
    if name == "mirrored" and len(names) == 1:
        raise InputError(
            "`strategy` mirrored needs several devices, or `logical_cpus`, "
            f"got {names[0]}"
        )
    if name == "one" or (name == "auto" and names[0].startswith("cpu")):
        names = names[:1]
    return JaxDevices(names)


def split_cpu(devices):
    """Splits the CPU into several devices, to try them without GPUs.

    Call it before any other use of JAX.

    Args:
        devices: Int >= 1.

    Raises:
        InputError: `devices` is smaller, or JAX has already started.
    """
    with splitting_cpu(devices, "JAX"):
        jax.config.update("jax_num_cpu_devices", devices)
