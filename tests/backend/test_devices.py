"""Devices by name, bad input."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl import backend
from keras_ffl.backend.tensorflow.devices import WorkerDevices
from keras_ffl.backend.tensorflow.replicas import share_of_replica
from keras_ffl.errors import InputError, WorkerLost


def test_one_device():
    devices = backend.make_devices("one")
    assert devices.replicas == devices.count == 1
    assert devices.chief
    values = np.array([1.0, 2.0])
    assert devices.sum_over_processes(values) is values


def test_auto_takes_the_one_device_there_is(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    devices = backend.make_devices("auto")
    assert devices.strategy is tf.distribute.get_strategy()


WORKERS = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": %s}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        WORKERS % "{}",
        WORKERS % '{"type": "chief", "index": 0}',
        WORKERS % '{"type": "worker", "index": 2}',
        WORKERS % '{"type": "worker", "index": "0"}',
    ],
)
def test_tf_config_that_names_no_worker(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG must be JSON such as"):
        backend.make_devices("multi_worker")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("many", "`strategy` must be one of auto, one, .*got 'many'"),
        ("mirrored", "mirrored needs GPUs, or several logical CPUs"),
        ("tpu", "`strategy` tpu needs a TPU, and none was found"),
    ],
)
def test_strategies_whose_devices_are_not_there(name, message, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(InputError, match=message):
        backend.make_devices(name)


def test_a_worker_of_several_replicas_counts_once():
    result = subprocess.run(
        [sys.executable, "-m", "support.worker_sums"],
        cwd=pathlib.Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1:] == ["[1.0, 7.0, 1281167.0]"], (
        result.stderr[-2000:]
    )


def test_lost_workers_have_a_name():
    class Lost(WorkerDevices):
        def __init__(self):
            pass

    with pytest.raises(WorkerLost, match="another worker has ended"):
        with Lost().running():
            raise tf.errors.UnavailableError(None, None, "Socket closed")
    one = backend.make_devices("one")
    with pytest.raises(tf.errors.UnavailableError):
        with one.running():
            raise tf.errors.UnavailableError(None, None, "a disk")


def test_share_of_replica_is_the_mean_on_one_device():
    mean = tf.constant(2.0)
    assert share_of_replica(mean, 3) is mean
    assert backend.sum_over_replicas(mean) is mean
