"""Slices of batches, strategies by name, bad input."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ffl import backend, distribution
from keras_ffl.backend.tensorflow.devices import WorkerDevices
from keras_ffl.data import steps_per_epoch
from keras_ffl.distribution import Replicas
from keras_ffl.errors import InputError, WorkerLost


def sliced(replicas, examples, batch_size, **options):
    batches = tf.data.Dataset.range(examples).batch(batch_size)
    slices = distribution.slices_of_replicas(batches, replicas, **options)
    return [rows.tolist() for rows in slices.as_numpy_iterator()]


@pytest.mark.parametrize("total", [1, 2, 3, 4])
@pytest.mark.parametrize("examples", [24, 29, 25])
def test_slices_hold_every_row_once_in_order(total, examples):
    parts = [
        sliced(Replicas(first, 1, total), examples, 12)
        for first in range(total)
    ]
    for batch in zip(*parts, strict=True):
        sizes = [len(rows) for rows in batch]
        assert max(sizes) - min(sizes) <= 1
    rows = [row for batch in zip(*parts) for part in batch for row in part]
    assert rows == list(range(examples))


def test_a_process_gets_the_slices_of_all_its_replicas():
    together = sliced(Replicas(2, 2, 4), 16, 8)
    assert together == [[4, 5], [6, 7], [12, 13], [14, 15]]


def test_slices_of_structures():
    batches = tf.data.Dataset.from_tensor_slices(
        (np.arange(4), {"a": np.arange(8).reshape(4, 2)})
    ).batch(4)
    slices = distribution.slices_of_replicas(batches, Replicas(1, 1, 2))
    ((i, draws),) = slices.as_numpy_iterator()
    assert i.tolist() == [2, 3]
    assert draws["a"].tolist() == [[4, 5], [6, 7]]


def test_batches_too_small_for_every_replica_are_left_out():
    replicas = Replicas(0, 1, 4)
    assert sliced(replicas, 11, 8) == [[0, 1], []]
    assert sliced(replicas, 11, 8, smallest=4) == [[0, 1]]
    assert sliced(replicas, 12, 8, smallest=4) == [[0, 1], [8]]
    assert steps_per_epoch(11, 8, replicas=4) == 1
    assert steps_per_epoch(12, 8, replicas=4) == 2
    assert steps_per_epoch(11, 8) == 2


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("examples", [8, 10, 29, 100, 101])
@pytest.mark.parametrize("wanted", [1, 4, 25, 200])
def test_no_replica_is_empty_in_evaluation(examples, wanted, replicas):
    size = distribution.evaluation_batch_size(examples, wanted, replicas)
    parts = [
        sliced(Replicas(first, 1, replicas), examples, size)
        for first in range(replicas)
    ]
    assert all(rows for part in parts for rows in part)
    assert sorted(sum((sum(part, []) for part in parts), [])) == list(
        range(examples)
    )


def test_evaluation_batches_stay_as_wanted_where_they_can():
    assert distribution.evaluation_batch_size(10000, 100, 8) == 100
    assert distribution.evaluation_batch_size(360, 100, 4) == 100
    assert distribution.evaluation_batch_size(29, 200, 1) == 200
    with pytest.raises(InputError, match="each of the 4 replicas, got 3"):
        distribution.evaluation_batch_size(3, 8, 4)


@pytest.mark.parametrize(
    ("examples", "wanted", "replicas", "expected"),
    [
        (50000, 100, 8, 80),  # 625 batches, none left out
        (10000, 100, 1, 100),
        (10000, 128, 8, 80),
        (29, 200, 4, 28),  # one image left out, whatever the size
        (29, 8, 4, 4),
        (101, 100, 1, 100),
        (8, 100, 8, 8),
        (9, 1, 8, 8),
    ],
)
def test_evaluation_batches_of_one_size(examples, wanted, replicas, expected):
    size = distribution.static_evaluation_batch_size(examples, wanted, replicas)
    assert size == expected
    sizes = range(replicas, min(wanted, examples) + 1, replicas)
    allowed = [s for s in sizes if 2 * s >= wanted] or [replicas]
    fewest = min(examples % s for s in allowed)
    assert examples % size == fewest


def test_evaluation_batches_of_one_size_need_an_example_each():
    with pytest.raises(InputError, match="each of the 8 replicas, got 7"):
        distribution.static_evaluation_batch_size(7, 100, 8)


def test_static_shapes():
    devices = backend.make_devices("one")
    assert not devices.static_shapes

    def make(part):
        batches = tf.data.Dataset.range(11).batch(4)
        return (part(batches) if part else batches).map(
            lambda i: (i, tf.ones((tf.size(i), 2)))
        )

    some = devices.batches(make)
    assert some.element_spec[0].shape == (None,)
    assert len(list(some)) == 3
    static = devices.batches(make, static_size=4)
    assert [spec.shape for spec in static.element_spec] == [(4,), (4, 2)]
    assert [i.tolist() for i, _ in static.as_numpy_iterator()] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


@pytest.mark.parametrize("total", [1, 2, 3])
def test_rows_are_those_of_the_slices(total):
    for first in range(total):
        replicas = Replicas(first, 1, total)
        expected = sum(sliced(replicas, 29, 8), [])
        assert replicas.rows(29, 8).tolist() == expected


def test_one_device_needs_no_slices():
    devices = backend.make_devices("one")
    assert devices.replicas == devices.count == 1
    assert devices.batches(lambda part: part) is None
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


def test_lost_workers_have_a_name():
    class Lost(WorkerDevices):
        def __init__(self):
            pass

    with pytest.raises(WorkerLost, match="is gone"):
        with Lost().running():
            raise tf.errors.UnavailableError(None, None, "Socket closed")
    one = backend.make_devices("one")
    with pytest.raises(tf.errors.UnavailableError):
        with one.running():
            raise tf.errors.UnavailableError(None, None, "a disk")


def test_share_of_replica_is_the_mean_on_one_device():
    mean = tf.constant(2.0)
    assert backend.share_of_replica(mean, 3) is mean
    assert backend.sum_over_replicas(mean) is mean
