"""Devices and workers of TensorFlow: `tf.distribute` by name."""

import json
import os

from keras_ffl.backend.devices import Devices, check_strategy, splitting_cpu
from keras_ffl.backend.tensorflow.workers import Workers
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf


class ReplicaDevices(Devices):
    """The replicas of a `tf.distribute.Strategy`.

    Args:
        strategy: The strategy.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.count = self.replicas = strategy.num_replicas_in_sync
        # A TPU's programs are compiled for fixed shapes.
        self.static_shapes = isinstance(strategy, tf.distribute.TPUStrategy)

    def scope(self):
        return self.strategy.scope()


class WorkerDevices(Workers, ReplicaDevices):
    """The replicas of several processes."""


def make_devices(name="auto"):
    """The devices of a strategy's name.

    To be called before anything else of TensorFlow, since workers connect
    when their strategy is made.

    Args:
        name: "one": the first device. "mirrored": all GPUs of this machine,
            or all logical CPUs if there are several and no GPU.
            "multi_worker": the workers of the environment variable TF_CONFIG,
            each with all its GPUs. "tpu": the TPU of this machine, or of the
            environment variable TPU_NAME. "auto": multi_worker where TF_CONFIG
            names workers, tpu where there is one, mirrored with several GPUs,
            else one.

    Returns:
        `keras_ffl.backend.devices.Devices`.

    Raises:
        InputError: The name is unknown, the devices are not there, or
            TF_CONFIG names no workers.
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

    To be called before anything else of TensorFlow.

    Args:
        devices: Int >= 1.

    Raises:
        InputError: `devices` is smaller, or TensorFlow has started already.
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
