"""Features of tiny networks on tiny data."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from support.builders import METHODS, moved, subnetwork
from threadpoolctl import threadpool_info, threadpool_limits

from keras_ffl import InputError, VanillaModel, data
from keras_ffl.models.flattening import flat_copy
from keras_ffl.studies import transfer


def blobs(seed, samples=60, classes=3, channels=5):
    """Overlapping groups of points, the class being the group."""
    random = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    centres = np.random.default_rng(0).normal(size=(classes, channels))
    x = centres[y] + random.normal(size=(samples, channels))
    # Scales that a penalty would feel without standardisation.
    return (x * np.logspace(-3, 3, channels)).astype("float32"), y


def small_dataset(shape=(4, 4, 2)):
    """Bright and dark images, and those in between."""
    random = np.random.default_rng(0)
    y = np.arange(48) % 3
    x = 40 + 80 * y[:, None, None, None] + random.integers(-9, 9, (48, *shape))
    return data.from_arrays(x[:30], y[:30], x[30:], y[30:], flip=True)


def test_probe_agrees_with_regression_by_hand():
    x, y = blobs(1)
    x_test, y_test = blobs(2)
    found = transfer.linear_probe(x, y, x_test, y_test)
    assert found["C"] in transfer.probe.GRID
    # C times the sum of the cross-entropies and half of |W|², W without bias.
    mean, std = x.mean(axis=0), x.std(axis=0)
    one = np.c_[(x - mean) / std, np.ones(len(x))]

    def loss(flat):
        w = flat.reshape(-1, 3)
        z = one @ w
        own = z[np.arange(len(y)), y]
        ce = np.sum(np.log(np.sum(np.exp(z), axis=1)) - own)
        return found["C"] * ce + 0.5 * np.sum(w[:-1] ** 2)

    w = optimize.minimize(loss, np.zeros(3 * one.shape[1])).x.reshape(-1, 3)
    test = np.c_[(x_test - mean) / std, np.ones(len(x_test))]
    error = 100 * np.mean((test @ w).argmax(axis=1) != y_test)
    assert found["top1_error"] == pytest.approx(error)
    assert 0 < error < 40


def test_the_probe_is_fitted_in_one_blas_thread(monkeypatch):
    x, y = blobs(1)
    free = transfer.linear_probe(x, y, *blobs(2))
    fit = LogisticRegression.fit
    during = []

    def watched(self, *arguments):
        during.append(blas_threads())
        return fit(self, *arguments)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    with threadpool_limits(2, "blas"):
        assert transfer.linear_probe(x, y, *blobs(2)) == free
        assert blas_threads() == {2}
    assert during == [{1}] * (len(transfer.probe.GRID) + 1)


def blas_threads():
    return {
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }


def test_probe_is_chosen_without_the_test_split():
    x, y = blobs(1)
    a = transfer.linear_probe(x, y, *blobs(2))
    b = transfer.linear_probe(x, y, -x, y)
    assert a["C"] == b["C"] and a["held_out_error"] == b["held_out_error"]
    assert a["top1_error"] < 40 < b["top1_error"]


def test_splits_are_the_same_for_every_network(monkeypatch):
    seen, y = [], blobs(1)[1]

    def watched(x, labels, x_test, labels_test):
        seen.append(np.concatenate([labels, labels_test, x_test[:, 0]]))
        return {"top1_error": len(seen)}

    monkeypatch.setattr(transfer.probe, "linear_probe", watched)
    for scale in (1, -5):
        # The first feature is the number of the image.
        x = np.stack([np.arange(60), scale * blobs(1)[0][:, 0]], axis=1)
        assert len(transfer.resplit_errors(x, y, 15, 3)) == 3
    assert_array_equal(seen[:3], seen[3:])
    assert not np.array_equal(seen[0], seen[1])
    assert transfer.resplit_errors(x, y, 15, 0) == []


@pytest.mark.parametrize(("kept", "splits"), [(31, 0), (48, 1)])
def test_too_few_images_are_named(kept, splits):
    """One training image of class 2, or fewer test images than classes."""
    x = np.zeros((48, 4, 4, 2), "uint8")
    y = np.arange(48) % 2
    y[kept - 1] = 2
    dataset = data.from_arrays(x[:-2], y[:-2], x[-2:], y[-2:], num_classes=3)
    with pytest.raises(InputError, match="`dataset` must have enough images"):
        transfer.transfer(moved(METHODS["vanilla"]()), dataset, None, splits)


def test_digits_as_a_network_takes_them():
    info = data.DatasetInfo(
        "c", 2, (32, 32, 3), tuple("ab"), (9.0, 8.0, 7.0), (3.0, 2.0, 1.0), True
    )
    found = transfer.target_data("digits", info)
    assert found.x_train.shape == (1437, 32, 32, 3)
    assert found.x_test.shape == (360, 32, 32, 3)
    assert found.x_test.dtype == np.uint8
    own = data.load("digits")
    assert_array_equal(found.y_test, own.y_test)
    assert_array_equal(found.x_test[..., 0], found.x_test[..., 2])
    # Twice the size: the mean stays.
    assert abs(found.x_test.mean() - own.x_test.mean()) < 1
    assert (found.info.mean, found.info.std) == (info.mean, info.std)
    assert found.info.num_classes == 10 and not found.info.flip
    batch, _ = found.evaluation_batches(2)[0]
    assert_allclose(
        batch, (found.x_test[:2] - np.array(info.mean)) / info.std, rtol=1e-5
    )


def test_photos_as_a_network_takes_them(shared_data):
    info = data.DatasetInfo(
        "c", 2, (16, 16, 3), tuple("ab"), (9.0,) * 3, (3.0,) * 3, True
    )
    folder = shared_data / "imagenette_small"
    found = transfer.target_data("imagefolder", info, folder)
    assert found.x_test.shape == (200, 16, 16, 3)
    assert found.info.num_classes == 10
    with pytest.raises(InputError, match="1 or 1 channels .* with 3"):
        grey = data.DatasetInfo(
            "g", 2, (16, 16, 1), tuple("ab"), (9.0,), (3.0,), False
        )
        transfer.target_data("imagefolder", grey, folder)


def test_heads_with_features():
    heads = {name: list(METHODS[name]().feature_maps()) for name in METHODS}
    assert heads["ffl"] == ["fused", "sub_1", "sub_2"]
    assert heads["one"] == ["sub_1", "sub_2", "sub_3"]
    assert heads["vanilla"] == ["vanilla"]
    assert heads["kd"] == ["student"]


def test_flat_copy_leaves_out_what_is_not_needed():
    model = moved(METHODS["ensemble"]())
    extractor = model.feature_extractor("sub_2")
    copy = flat_copy(extractor)
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype("float32")
    assert_array_equal(copy(x), extractor(x))
    # The classifier: four channels to three classes, and a bias.
    assert copy.count_params() == extractor.count_params() - (4 + 1) * 3
    own = {id(weight) for weight in model.weights}
    assert not own & {id(weight) for weight in copy.weights}


def test_fine_tuning_learns_and_leaves_the_extractor():
    model = VanillaModel(subnetwork())
    extractor = model.feature_extractor()
    before = [weight.numpy() for weight in extractor.weights]
    options = transfer.FineTuning(8, 0.1, 10, pad=0)
    found = transfer.fine_tune(extractor, small_dataset(), options)
    assert found["top1_error"] < 20
    for old, new in zip(before, extractor.weights, strict=True):
        assert_array_equal(old, new)
    # All weights are, also those that their own training left alone.
    model.trainable = False
    again = transfer.fine_tune(extractor, small_dataset(), options)
    assert again["loss"] == pytest.approx(found["loss"], rel=1e-4)


def test_whole_study():
    keras.utils.set_random_seed(0)
    model = moved(METHODS["ffl"]())
    dataset = small_dataset()
    found = transfer.transfer(
        model, dataset, None, 2, [transfer.FineTuning(1, batch_size=10, pad=0)]
    )
    assert list(found) == ["fused", "sub_1", "sub_2"]
    for head, values in found.items():
        assert len(values["resplit_errors"]) == 2
        assert len(values["fine_tuned"]) == 1
        features = transfer.pooled_features(
            model.feature_extractor(head), dataset.x_test, dataset.info
        )
        assert features.shape == (18, values["channels"])
        maps = model.feature_extractor(head)(
            data.normalize(dataset.x_test, dataset.info)
        )
        assert_allclose(
            features,
            keras.ops.convert_to_numpy(maps).mean(axis=(1, 2)),
            rtol=1e-4,
            atol=1e-6,
        )
    rows = [
        {"method": "ffl", "seed": 0, "head": head, **values}
        for head, values in found.items()
    ]
    table = transfer.format_rows(rows)
    assert len(table.splitlines()) == 5 and "ffl fused, seed 0" in table
    assert "±" in table
    # Rows that look alike are told apart by their run.
    alike = [{**rows[0], "run": run} for run in ("a/ffl", "b/ffl")]
    table = transfer.format_rows([*alike, {**rows[1], "run": "a/ffl"}])
    assert "ffl fused, seed 0 (b/ffl)" in table
    assert "ffl sub_1, seed 0  " in table
    with pytest.raises(InputError, match="`head` must be one of"):
        transfer.transfer(model, dataset, ["ensemble"])
