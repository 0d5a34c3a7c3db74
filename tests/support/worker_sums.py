"""Prints what a worker of three replicas sums over all processes."""

import tensorflow as tf

from keras_ffl.backend.tensorflow.workers import Workers
from keras_ffl.data import Share


class Worker(Workers):
    """A single worker."""

    process = Share(0, 1, 1)

    def __init__(self, devices):
        self.strategy = tf.distribute.MirroredStrategy(devices)


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * 3
    tf.config.set_logical_device_configuration(cpu, parts)
    worker = Worker(["CPU:0", "CPU:1", "CPU:2"])
    worker.check_same(1281167, "the number of images")
    print(worker.sum_over_processes([1.0, 7.0, 1281167.0]).tolist())


if __name__ == "__main__":
    main()
