"""Strategies by name, from the devices that are there."""

import json
import os

import keras

from keras_ffl.distribution.jax_devices import jax_devices, split_cpu_of_jax
from keras_ffl.errors import InputError

STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")


def make_strategy(name="auto"):
    """The `tf.distribute` strategy of a name.

    To be called before anything else of TensorFlow, since workers connect
    when it is made.

    Args:
        name: "one": the first device. "mirrored": all GPUs of this machine,
            or all logical CPUs if there are several and no GPU.
            "multi_worker": the workers of the environment variable TF_CONFIG,
            each with all its GPUs. "tpu": the TPU of this machine, or of the
            environment variable TPU_NAME. "auto": multi_worker where TF_CONFIG
            names workers, tpu where there is one, mirrored with several GPUs,
            else one.

    With Keras' backend jax, "mirrored" takes all devices that JAX has,
    "auto" all accelerators, and there is nothing of several processes.

    Returns:
        `tf.distribute.Strategy`, or `keras_ffl.distribution.JaxDevices`.

    Raises:
        InputError: The name is unknown, the devices are not there, or
            TF_CONFIG is no good.
    """
    if name not in STRATEGIES:
        raise InputError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}, got {name!r}"
        )
    if keras.backend.backend() == "jax":
        return jax_devices(name)
    import tensorflow as tf

    if name == "auto":
        name = _automatic()
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(_several_devices())
    return {"multi_worker": _multi_worker, "tpu": _tpu}[name]()


def needs_static_shapes(strategy):
    """Whether every batch has to be of one size that is known beforehand.

    Args:
        strategy: `tf.distribute.Strategy`.

    Returns:
        Bool, true for a TPU, whose programs are compiled for fixed shapes.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.TPUStrategy)


def split_cpu(devices):
    """Makes several logical devices of the CPU, to try replicas without GPUs.

    To be called before anything else of TensorFlow or JAX.

    Args:
        devices: Int >= 1.

    Raises:
        InputError: `devices` is smaller, or TensorFlow or JAX has started
            already.
    """
    if devices < 1:
        raise InputError(f"`logical_cpus` must be at least 1, got {devices}")
    if keras.backend.backend() == "jax":
        split_cpu_of_jax(devices)
        return
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )
    except RuntimeError as error:
        raise InputError(
            "`logical_cpus` must be set before TensorFlow starts: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _automatic():
    import tensorflow as tf

    if os.environ.get("TF_CONFIG"):
        return "multi_worker"
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    gpus = tf.config.list_physical_devices("GPU")
    return "mirrored" if len(gpus) > 1 else "one"


def _several_devices():
    """Names of all GPUs, or of several logical CPUs."""
    import tensorflow as tf

    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if devices and (kind == "GPU" or len(devices) > 1):
            return [device.name for device in devices]
    raise InputError(
        "`strategy` mirrored needs GPUs, or several logical CPUs, got one CPU"
    )


def _multi_worker():
    import tensorflow as tf

    _check_tf_config(os.environ.get("TF_CONFIG", ""))
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config(text):
    """An InputError unless TF_CONFIG names workers and which one this is."""
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        task = config["task"]
        kind, index = task["type"], task["index"]
        good = (
            isinstance(workers, list)
            and all(isinstance(worker, str) for worker in workers)
            and kind == "worker"
            and isinstance(index, int)
            and 0 <= index < len(workers)
        )
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            f"TF_CONFIG must be JSON such as {example} for `strategy` "
            f"multi_worker, got {text!r}"
        )


def _tpu():
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # What is raised depends on where the search for a TPU ends.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"`strategy` tpu needs a TPU, and none was found: {lines[0]}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
