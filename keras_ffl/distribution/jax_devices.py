"""Data parallelism on JAX: `keras.distribution` over the devices."""

import contextlib

import keras

from keras_ffl.errors import InputError


class JaxDevices:
    """The devices of a training on JAX.

    One program runs on all of them. It computes what it would on one device,
    the statistics of batch normalisation included, and the compiler splits
    the work by the rows of a batch. So there are no replicas with parts of
    their own, whose number is always 1.

    Args:
        names: List of str, the devices by their Keras names.
    """

    num_replicas_in_sync = 1

    def __init__(self, names):
        self.names = names

    def scope(self):
        """Context in which models, optimizers and data are on the devices.

        `fit`, `evaluate` and `predict` belong within it as well.
        """
        if len(self.names) == 1:
            return contextlib.nullcontext()
        return AllDevices(devices=self.names, auto_shard_dataset=False).scope()


class AllDevices(keras.distribution.DataParallel):
    """`DataParallel` that copies to all devices what it can't split."""

    def get_data_layout(self, data_shape):
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.device_mesh.devices.size:
            axes = [None] * len(data_shape)
            layout = keras.distribution.TensorLayout(axes, self.device_mesh)
        return layout


def jax_devices(name):
    """The devices of a strategy's name.

    Args:
        name: "one", "mirrored" (all devices), or "auto" (all accelerators,
            where there are several).

    Returns:
        `JaxDevices`.

    Raises:
        InputError: The name is of TensorFlow only, or there is one device for
            "mirrored".
    """
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


def split_cpu_of_jax(devices):
    """Makes several devices of the CPU.

    Args:
        devices: Int >= 1.

    Raises:
        InputError: JAX has started already.
    """
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError as error:
        raise InputError(
            "`logical_cpus` must be set before JAX starts: "
            f"{str(error).splitlines()[0]}"
        ) from error


def running_on(devices):
    """Context of a whole run on devices.

    Args:
        devices: What `make_strategy` returned.

    Returns:
        Context manager; it changes nothing under tf.distribute, whose scope
        belongs around the making of a model only.
    """
    if isinstance(devices, JaxDevices):
        return devices.scope()
    return contextlib.nullcontext()


def count_devices(devices):
    """The number of devices that a training is spread over, an int.

    Args:
        devices: What `make_strategy` returned.
    """
    if isinstance(devices, JaxDevices):
        return len(devices.names)
    return devices.num_replicas_in_sync
