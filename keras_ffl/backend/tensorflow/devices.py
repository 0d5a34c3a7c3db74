"""TensorFlow's devices and workers: `tf.distribute` strategies by name."""

import json
import os

from keras_ffl.backend.devices import Devices, check_strategy, splitting_cpu
from keras_ffl.backend.tensorflow.workers import Workers
from keras_ffl.errors import InputError, first_line
from keras_ffl.optional import tensorflow as tf


class ReplicaDevices(Devices):
    """The replicas of a `tf.distribute.Strategy`.

    Args:
        strategy: The strategy.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.count = self.replicas = strategy.num_replicas_in_sync
        # TPU programs are compiled for fixed shapes.
        self.static_shapes = isinstance(strategy, tf.distribute.TPUStrategy)

    def scope(self):
        return self.strategy.scope()


class WorkerDevices(Workers, ReplicaDevices):
    """The replicas of several processes."""


def make_devices(name="auto"):
    """Makes the devices of a named strategy.

    Call it before any other use of TensorFlow, since workers connect when
    their strategy is made.

    Args:
        name: "one": the first device. "mirrored": all GPUs of this machine,
            or all logical CPUs if there are several and no GPU.
            "multi_worker": the workers of the environment variable TF_CONFIG,
            each with all its GPUs. "tpu": the TPU of this machine, or the one
            in the environment variable TPU_NAME. "auto": multi_worker if
            TF_CONFIG is set, tpu if there is one, mirrored for several GPUs,
            otherwise one.

    Returns:
        `keras_ffl.backend.devices.Devices`.

    Raises:
        InputError: The name is unknown, the devices don't exist, or
            TF_CONFIG doesn't name workers.
    """
    check_strategy(name)
    if name == "auto":
        name = _automatic()
    if name == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG", ""))
        return WorkerDevices(tf.distribute.MultiWorkerMirroredStrategy())
    if name == "one":
        return ReplicaDevices(tf.distribute.get_strategy())
    if name == "mirrored":
        return ReplicaDevices(tf.distribute.MirroredStrategy(_several()))
    return ReplicaDevices(_tpu())


def split_cpu(devices):
    """Splits the CPU into several devices, to try replicas without GPUs.

    Call it before any other use of TensorFlow.

    Args:
        devices: Int >= 1.

    Raises:
        InputError: `devices` is smaller, or TensorFlow has already started.
    """
    with splitting_cpu(devices, "TensorFlow"):
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )


def _automatic():
    if os.environ.get("TF_CONFIG"):
        return "multi_worker"
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    gpus = tf.config.list_physical_devices("GPU")
    return "mirrored" if len(gpus) > 1 else "one"


def _several():
    """Names of all GPUs, or of several logical CPUs."""
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if devices and (kind == "GPU" or len(devices) > 1):
            return [device.name for device in devices]
    raise InputError(
        "`strategy` mirrored needs GPUs, or several logical CPUs, got one CPU"
    )


def _check_tf_config(text):
    """Raises `InputError` unless TF_CONFIG names workers and which this is."""
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
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # The exception depends on where the search for a TPU fails.
    except Exception as error:
        raise InputError(
            "`strategy` tpu needs a TPU, and none was found: "
            f"{first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
