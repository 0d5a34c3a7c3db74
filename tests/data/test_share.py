"""Which rows of the batches are whose."""

import numpy as np
import pytest

from keras_ffl.data import (
    Share,
    evaluation_batch_size,
    static_evaluation_batch_size,
    steps_per_epoch,
)
from keras_ffl.data.share import batch_bounds
from keras_ffl.errors import InputError


def sliced(share, examples, batch_size, smallest=1):
    bounds = batch_bounds(examples, batch_size, smallest)
    return [list(range(*each)) for each in share.slices(bounds)]


@pytest.mark.parametrize("total", [1, 2, 3, 4])
@pytest.mark.parametrize("examples", [24, 29, 25])
def test_slices_hold_every_row_once_in_order(total, examples):
    parts = [sliced(Share(k, 1, total), examples, 12) for k in range(total)]
    for batch in zip(*parts, strict=True):
        sizes = [len(rows) for rows in batch]
        assert max(sizes) - min(sizes) <= 1
    rows = [row for batch in zip(*parts) for part in batch for row in part]
    assert rows == list(range(examples))


def test_a_process_gets_the_slices_of_all_its_replicas():
    together = sliced(Share(2, 2, 4), 16, 8)
    assert together == [[4, 5], [6, 7], [12, 13], [14, 15]]


def test_batches_too_small_for_every_replica_are_left_out():
    share = Share(0, 1, 4)
    assert sliced(share, 11, 8) == [[0, 1], []]
    assert sliced(share, 11, 8, smallest=4) == [[0, 1]]
    assert sliced(share, 12, 8, smallest=4) == [[0, 1], [8]]
    assert steps_per_epoch(11, 8, smallest=4) == 1
    assert steps_per_epoch(12, 8, smallest=4) == 2
    assert steps_per_epoch(11, 8) == 2


@pytest.mark.parametrize("total", [1, 2, 3])
def test_rows_are_those_of_the_slices(total):
    for first in range(total):
        share = Share(first, 1, total)
        expected = sum(sliced(share, 29, 8), [])
        assert share.rows(29, 8).tolist() == expected


def test_no_batches():
    assert Share(1, 2, 4).slices(np.zeros((0, 2), int)).shape == (0, 2)


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("examples", [8, 10, 29, 100, 101])
@pytest.mark.parametrize("wanted", [1, 4, 25, 200])
def test_no_replica_is_empty_in_evaluation(examples, wanted, replicas):
    size = evaluation_batch_size(examples, wanted, replicas)
    parts = [
        sliced(Share(first, 1, replicas), examples, size)
        for first in range(replicas)
    ]
    assert all(rows for part in parts for rows in part)
    assert sorted(sum((sum(part, []) for part in parts), [])) == list(
        range(examples)
    )


def test_evaluation_batches_stay_as_wanted_where_they_can():
    assert evaluation_batch_size(10000, 100, 8) == 100
    assert evaluation_batch_size(360, 100, 4) == 100
    assert evaluation_batch_size(29, 200, 1) == 200
    with pytest.raises(InputError, match="each of the 4 replicas, got 3"):
        evaluation_batch_size(3, 8, 4)


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
    size = static_evaluation_batch_size(examples, wanted, replicas)
    assert size == expected
    sizes = range(replicas, min(wanted, examples) + 1, replicas)
    allowed = [s for s in sizes if 2 * s >= wanted] or [replicas]
    fewest = min(examples % s for s in allowed)
    assert examples % size == fewest


def test_evaluation_batches_of_one_size_need_an_example_each():
    with pytest.raises(InputError, match="each of the 8 replicas, got 7"):
        static_evaluation_batch_size(7, 100, 8)
