"""Batches that are prepared on the device, against NumPy and tf.data."""

import numpy as np
import pytest
from keras import ops

from keras_ffl.data import Augmentation, DatasetInfo, draws, training_batches
from keras_ffl.data import steps_per_call as best_steps
from keras_ffl.data.in_memory import (
    EvaluationBatches,
    TrainingBatches,
)
from keras_ffl.errors import InputError

N, HEIGHT, WIDTH, CLASSES = 11, 8, 6, 3
INFO = DatasetInfo(
    "toy", CLASSES, (HEIGHT, WIDTH, 2), "abc", (90.0, 120.0), (50.0, 60.0), True
)


def arrays():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, HEIGHT, WIDTH, 2)).astype("uint8")
    return x, rng.integers(CLASSES, size=N).astype("int32")


def batches(batch_size=4, seed=5, options=Augmentation(pad=2), **more):
    return TrainingBatches(*arrays(), INFO, batch_size, seed, options, **more)


def prepared(element):
    """Images and labels of all steps of an element, a list of pairs."""
    (batch,) = element
    return [
        tuple(ops.convert_to_numpy(t) for t in batch.prepared(plan))
        for plan in batch.steps()
    ]


def by_hand(image, i, drawn, options):
    """Padding, mirror image, crop, normalisation and cutout of an image."""
    widths = [(options.pad,) * 2, (options.pad,) * 2, (0, 0)]
    padded = np.pad(image.astype("float32"), widths, mode=options.padding)
    if drawn["flip"][i]:
        padded = padded[:, ::-1]
    dy, dx = drawn["dy"][i], drawn["dx"][i]
    crop = padded[dy : dy + HEIGHT, dx : dx + WIDTH]
    crop = (crop - np.array(INFO.mean)) / np.array(INFO.std)
    if options.cutout:
        top, left = (
            int(drawn[f"cutout_{axis}"][i] * np.float32(size))
            - options.cutout // 2
            for axis, size in (("y", HEIGHT), ("x", WIDTH))
        )
        bottom, right = top + options.cutout, left + options.cutout
        crop[max(top, 0) : bottom, max(left, 0) : right] = 0
    return crop


@pytest.mark.parametrize(
    "options",
    [
        Augmentation(pad=2),
        Augmentation(pad=3, padding="constant", flip=False),
        Augmentation(pad=2, padding="constant", cutout=4),
    ],
    ids=["reflect", "black", "cutout"],
)
def test_augmentation_against_numpy(options):
    x, y = arrays()
    # Two epochs of three batches, the last one of 3 images.
    elements = batches(options=options, epochs=2)
    assert len(elements) == 6
    for epoch in (0, 1):
        order = draws.epoch_order(5, epoch, N)
        drawn = draws.draw_epoch(5, epoch, N, options)
        assert drawn["flip"].any() == options.flip
        found = [prepared(elements[3 * epoch + k])[0] for k in range(3)]
        assert [len(labels) for _, labels in found] == [4, 4, 3]
        np.testing.assert_array_equal(
            np.concatenate([labels for _, labels in found]), y[order]
        )
        np.testing.assert_allclose(
            np.concatenate([images for images, _ in found]),
            [by_hand(x[i], i, drawn, options) for i in order],
            rtol=1e-5,
            atol=1e-5,
        )


def test_the_batches_of_tf_data():
    options = Augmentation(pad=2, cutout=3, label_smoothing=0.1)
    theirs = training_batches(
        *arrays(), INFO, 4, 7, options, initial_epoch=3, epochs=5
    )
    ours = batches(4, 7, options, initial_epoch=3, epochs=5)
    for element, expected in zip(
        (ours[k] for k in range(len(ours))),
        theirs.as_numpy_iterator(),
        strict=True,
    ):
        ((images, labels),) = prepared(element)
        np.testing.assert_allclose(images, expected[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(labels, expected[1], rtol=1e-6)


def test_several_steps_in_one_call():
    single, several = batches(2), batches(2, steps_per_call=3)
    # Five full batches as 3 + 2, and the last one alone.
    assert (single.calls_per_epoch, several.calls_per_epoch) == (6, 3)
    assert [several[k][0].plan.shape[1] for k in range(3)] == [3, 2, 1]
    steps = [step for k in range(3) for step in prepared(several[k])]
    for k, (images, labels) in enumerate(steps):
        ((expected, expected_labels),) = prepared(single[k])
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)
    assert batches(4, drop_remainder=True).calls_per_epoch == 2


def test_evaluation_and_no_augmentation():
    x, y = arrays()
    expected = (x - np.float32(INFO.mean)) / np.float32(INFO.std)
    elements = EvaluationBatches(x, y, INFO, 4)
    assert len(elements) == 3
    found = [prepared(elements[k])[0] for k in range(3)]
    np.testing.assert_allclose(
        np.concatenate([images for images, _ in found]), expected, rtol=1e-6
    )
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in found]), y
    )
    plain = batches(options=Augmentation(pad=0, flip=False))
    order = draws.epoch_order(5, 0, N)
    np.testing.assert_allclose(
        prepared(plain[0])[0][0], expected[order[:4]], rtol=1e-6
    )


def test_what_keras_cv_does_is_refused():
    with pytest.raises(InputError, match="randaugment, mixup: expected 0 "):
        batches(options=Augmentation(pad=2, randaugment=5, mixup=0.2))


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [
        (50_000, 128, 39),  # 390 full batches
        (1024, 256, 4),
        (100, 128, 1),
        (101 * 8, 8, 32),  # A prime number of batches.
    ],
)
def test_steps_per_call_on_an_accelerator(n, batch_size, expected):
    assert best_steps(n, batch_size) == expected
