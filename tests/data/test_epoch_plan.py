"""The plan of an epoch against draws of NumPy made here."""

import math

import numpy as np
import pytest

from keras_ffl.data import Augmentation, BatchOptions, Plan
from keras_ffl.data.epoch_plan import PER_VIEW, partners, plan_of_epoch
from keras_ffl.data.randaugment import OPERATIONS, parameters
from keras_ffl.errors import InputError

SIZE = (12, 10)
EVERYTHING = Augmentation(pad=3, cutout=4, randaugment=7, cutmix=0.8, mixup=0.4)


def planned(seed=0, epoch=0, n=50, augmentation=EVERYTHING, photos=False):
    options = BatchOptions(16, seed, augmentation)
    return plan_of_epoch(n, options, SIZE, photos, epoch)


def stream(seed, epoch, number):
    key = np.random.SeedSequence(seed, spawn_key=(epoch, number))
    return np.random.Generator(np.random.Philox(key))


def assert_same(first, second):
    assert set(first) == set(second)
    for name, column in first.items():
        assert column.dtype == second[name].dtype, name
        np.testing.assert_array_equal(column, second[name], err_msg=name)


def test_a_plan_is_a_draw_of_numpy():
    plan, n = planned(5, 7).columns(), 50
    height, width = SIZE

    def of(number):
        return stream(5, 7, number)

    order = of(0).permutation(n)
    np.testing.assert_array_equal(plan["example"], order)
    crop = of(1).integers(-3, 4, (n, 2), dtype="int32")
    np.testing.assert_array_equal(plan["crop"], crop)
    flip = of(2).integers(0, 2, n, dtype="int8")
    np.testing.assert_array_equal(plan["flip"], flip == 1)
    centre = of(3).integers(0, [height, width], (n, 2), dtype="int32")
    np.testing.assert_array_equal(plan["cutout"][:, :2], centre - 2)
    np.testing.assert_array_equal(plan["cutout"][:, 2:], centre + 2)
    mixup = of(5).beta(0.4, 0.4, n).astype("float32")
    np.testing.assert_array_equal(plan["mixup"], mixup)
    cutmix = of(4)
    root = np.sqrt(1 - cutmix.beta(0.8, 0.8, n))
    centre = cutmix.integers(0, [height, width], (n, 2), dtype="int32")
    for i, (top, left, bottom, right) in enumerate(plan["cutmix"]):
        sides = int(root[i] * height), int(root[i] * width)
        first = centre[i, 0] - sides[0] // 2, centre[i, 1] - sides[1] // 2
        assert (top, left) == (max(first[0], 0), max(first[1], 0))
        assert bottom == min(first[0] + sides[0], height)
        assert right == min(first[1] + sides[1], width)
    drawn = of(7).integers(0, 28, (n, 2))
    # Two signs of each operation, the five affine ones in one function.
    functions = np.array([0, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    np.testing.assert_array_equal(plan["operation"], functions[drawn // 2])
    names = np.array(list(OPERATIONS))[drawn // 2]
    for place, name in np.ndenumerate(names):
        sign = 1 if drawn[place] % 2 else -1
        strength, affine = parameters(name, 0.7 * sign, SIZE)
        assert plan["strength"][place] == strength
        np.testing.assert_array_equal(plan["affine"][place], affine)


def test_a_plan_of_photos_is_a_draw_of_numpy():
    plan, n = planned(1, 2, photos=True).columns(), 50
    assert "crop" not in plan
    crops = stream(1, 2, 6)
    area = crops.uniform(0.08, 1, (n, 10))
    logarithm = crops.uniform(math.log(3 / 4), math.log(4 / 3), (n, 10))
    height = np.sqrt(area / np.exp(logarithm))
    np.testing.assert_allclose(plan["sides"][:, 0], height, rtol=1e-6)
    np.testing.assert_allclose(plan["sides"][:, 1], area / height, rtol=1e-6)
    np.testing.assert_array_equal(
        plan["corner"], crops.random((n, 2), dtype="float32")
    )


def test_streams_stand_by_themselves():
    everything = planned().columns()
    for options in ({}, {"cutout": 4}, {"mixup": 0.4}, {"cutmix": 0.8}):
        some = planned(augmentation=Augmentation(pad=3, **options)).columns()
        assert set(options) <= set(some)
        assert_same(some, {name: everything[name] for name in some})


def test_each_view_has_its_own_draws():
    one = planned(5, 7).columns()
    options = BatchOptions(16, 5, EVERYTHING, views=3)
    plan = plan_of_epoch(50, options, SIZE, False, 7).columns()
    for name, column in plan.items():
        if name in PER_VIEW:
            assert column.shape == (50, 3, *one[name].shape[1:])
            np.testing.assert_array_equal(column[:, 0], one[name])
        else:
            np.testing.assert_array_equal(column, one[name])
    for view in (1, 2):
        key = np.random.SeedSequence(5, spawn_key=(7, 1, view))
        own = np.random.Generator(np.random.Philox(key))
        crop = own.integers(-3, 4, (50, 2), dtype="int32")
        np.testing.assert_array_equal(plan["crop"][:, view], crop)
        for name in ("flip", "operation", "cutout"):
            assert (plan[name][:, view] != one[name]).any()
    # Without an augmentation the views are the image itself.
    options = BatchOptions(16, 5, None, views=2)
    plan = plan_of_epoch(9, options, SIZE, False, 0)
    np.testing.assert_array_equal(plan.crop, np.zeros((9, 2, 2)))


def test_what_is_switched_off_has_no_column():
    plan = planned(augmentation=None)
    assert set(plan.columns()) == {"example"}
    options = BatchOptions(16)
    plan = plan_of_epoch(9, options, SIZE, False, 0)
    assert_same(plan.columns(), {"example": np.arange(9, dtype="int32")})


def test_a_slice_of_a_plan_is_a_plan():
    plan = planned()
    part = plan[16:32]
    assert isinstance(part, Plan) and len(part) == 16
    for name, column in part.columns().items():
        np.testing.assert_array_equal(column, plan.columns()[name][16:32])


def test_plans_depend_on_seed_and_epoch():
    base = planned(1, 2, 1000)
    assert_same(base.columns(), planned(1, 2, 1000).columns())
    # Seed and epoch are no sum: (1, 2) is not (2, 1) or (0, 3).
    for seed, epoch in ((1, 3), (2, 2), (2, 1), (0, 3), (1, 2 + 2**32)):
        other = planned(seed, epoch, 1000).columns()
        for name, column in base.columns().items():
            if name not in ("partner", "affine"):
                assert (column != other[name]).mean() > 0.3, name
    for name, value in (("seed", -1), ("seed", 1.5), ("initial_epoch", -1)):
        message = f"`{name}` must be an int >= 0, got {value}"
        with pytest.raises(InputError, match=message):
            BatchOptions(16, **{name: value})


# --- how the draws are spread --------------------------------------------


def test_draws_take_every_value_equally_often():
    plan = planned(n=45000, augmentation=Augmentation(cutout=4))
    for column in plan.crop.T:
        counts = np.bincount(column + 4)
        assert len(counts) == 9
        # Five standard deviations of a binomial of mean 5000.
        assert (np.abs(counts - 5000) < 5 * np.sqrt(5000 * 8 / 9)).all()
    assert abs(plan.flip.mean() - 0.5) < 5 * 0.5 / np.sqrt(45000)
    for column, size in zip(plan.cutout.T, SIZE):
        counts = np.bincount(column + 2)
        mean = 45000 / size
        assert len(counts) == size
        assert (np.abs(counts - mean) < 5 * np.sqrt(mean)).all()


def test_photo_crops_are_spread_as_they_should():
    n = 4000
    plan = planned(3, 5, n, photos=True)
    height, width = plan.sides[:, 0], plan.sides[:, 1]
    area = height * width
    logs = np.log(width / height) / math.log(4 / 3)
    top, left = plan.corner.T
    for values, low, high in (
        (area, 0.08, 1.0),
        (logs, -1.0, 1.0),
        (top, 0.0, 1.0),
        (left, 0.0, 1.0),
    ):
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
        # Five standard deviations of an even distribution's mean.
        spread = high - low
        deviation = 5 * spread / math.sqrt(12 * values.size)
        assert abs(values.mean() - (low + high) / 2) < deviation
        assert values.var() == pytest.approx(spread**2 / 12, rel=0.1)


def test_draws_are_independent_of_each_other():
    plan = planned(n=20000, photos=True)
    columns = [
        plan.flip,
        *plan.cutout[:, :2].T,
        plan.mixup,
        plan.cutmix[:, 2] - plan.cutmix[:, 0],
        *plan.operation.T,
        plan.sides[:, 0, 0],
        *plan.corner.T,
    ]
    correlations = np.corrcoef(columns)
    np.fill_diagonal(correlations, 0)
    assert np.abs(correlations).max() < 5 / np.sqrt(20000)


# --- partners ------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 19, 50])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_partners_are_others_of_the_batch(n, batch_size):
    offset = partners(n, batch_size)
    rows = np.arange(n)
    partner = rows + offset
    np.testing.assert_array_equal(partner // batch_size, rows // batch_size)
    sizes = np.bincount(rows // batch_size)[rows // batch_size]
    assert ((offset != 0) == (sizes > 1)).all()
    # By twos, but for the last of an odd number.
    mutual = partner[partner] == rows
    assert (sizes % 2 == 1)[~mutual].all()
