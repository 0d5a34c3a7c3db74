"""Correlation, CKA and agreement against NumPy and values by hand."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from keras_ffl import InputError
from keras_ffl.studies.analysis import (
    agreement,
    linear_cka,
    map_correlation,
    pairwise,
    similarity,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_correlation_is_numpys(random):
    maps, others = random.uniform(size=(2, 6, 4, 5))
    expected = [
        np.corrcoef(one.ravel(), two.ravel())[0, 1]
        for one, two in zip(maps, others)
    ]
    np.testing.assert_allclose(map_correlation(maps, others), expected)


def test_correlation_by_hand():
    maps = np.array([[[1.0, 2], [3, 4]]] * 3)
    others = np.array([[[3.0, 5], [7, 9]], [[4, 3], [2, 1]], [[1, 1], [1, 4]]])
    # Deviations -3 -1 1 3 (halves) against -3 -3 -3 9 (quarters).
    third = (9 + 3 - 3 + 27) / np.sqrt(20 * 108)
    np.testing.assert_allclose(map_correlation(maps, others), [1, -1, third])


def test_no_correlation_with_a_constant_map(random):
    maps = random.uniform(size=(3, 4, 4)).astype("float32")
    others = np.zeros_like(maps)
    others[1] = 0.1
    others[2] = maps[2]
    found = map_correlation(maps, others)
    assert np.isnan(found[:2]).all() and found[2] == pytest.approx(1)


def test_correlation_knows_no_scale(random):
    maps, others = random.uniform(size=(2, 3, 4, 4))
    np.testing.assert_allclose(
        map_correlation(1e-20 * maps, 1e6 * others + 3),
        map_correlation(maps, others),
        rtol=1e-6,
    )


def hsic_cka(x, y):
    """CKA by its definition: of centred kernel matrices."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n

    def hsic(k, other):
        return np.trace(k @ centre @ other @ centre) / (n - 1) ** 2

    k, other = x @ x.T, y @ y.T
    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


@pytest.mark.parametrize("shapes", [((20, 3), (20, 5)), ((6, 40), (6, 3))])
def test_cka_by_its_definition(random, shapes):
    x, y = (random.normal(size=shape) + 2 for shape in shapes)
    y[:, 0] += 2 * x[:, 0]
    expected = hsic_cka(x, y)
    assert 0.1 < expected < 0.95
    assert linear_cka(x, y) == pytest.approx(expected)
    assert linear_cka(y, x) == pytest.approx(expected)


def test_cka_by_hand():
    # Centred: (-1, 0, 1) and (1, -2, 1): XᵀY = 0; and with (-1, 1, 0): 1/4.
    x = np.array([0.0, 1, 2])[:, None]
    assert linear_cka(x, np.array([[3.0], [0], [3]])) == pytest.approx(0)
    assert linear_cka(x, np.array([[0.0], [2], [1]])) == pytest.approx(1 / 4)


def test_cka_of_maps_is_that_of_their_values(random):
    x, y = random.normal(size=(2, 7, 2, 2, 3)).astype("float32")
    flat = linear_cka(x.reshape(7, -1), y.reshape(7, -1))
    assert linear_cka(x, y) == pytest.approx(flat)


def test_cka_knows_no_rotation_shift_or_scale(random):
    x = random.normal(size=(30, 4))
    rotation, _ = np.linalg.qr(random.normal(size=(4, 4)))
    assert linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert linear_cka(x, x @ np.diag([1, 1, 1, 9])) < 0.9


def test_cka_of_features_that_do_not_vary():
    for value in (1, 0.1):
        constant = np.full((10, 5), value)
        assert np.isnan(linear_cka(constant, np.arange(10.0)[:, None]))
        assert np.isnan(linear_cka(constant, np.full((10, 5), 0.3)))


def test_agreement():
    assert agreement([0, 1, 2, 2], [0, 2, 2, 1]) == 0.5


def test_pairs_in_order():
    found = pairwise(lambda a, b: a * b, {"x": 2, "y": 3, "z": 5})
    assert found == {("x", "y"): 6, ("x", "z"): 10, ("y", "z"): 15}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: map_correlation(np.ones((2, 3, 3)), np.ones((2, 3, 4))),
            "3, 4",
        ),
        (lambda: map_correlation(np.ones((3, 3)), np.ones((3, 3))), "n, h, w"),
        (lambda: linear_cka(np.ones((2, 3)), np.ones((3, 3))), "shapes"),
        (lambda: linear_cka(np.ones((1, 3)), np.ones((1, 3))), "two or more"),
        (lambda: agreement([1, 2], [1]), "must both be of shape"),
        (lambda: agreement([], []), "at least one class"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_cka_is_computed_in_one_blas_thread(random, monkeypatch):
    during = []

    def watched(x, y):
        during.extend(
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "blas"
        )
        return 0.5

    monkeypatch.setattr(similarity, "_cka_of_centred", watched)
    with threadpool_limits(2, "blas"):
        assert linear_cka(*random.normal(size=(2, 5, 3))) == 0.5
    assert set(during) == {1}
