"""The photo pipelines as contenders; each function returns a `Prepared`."""

import pathlib
import time

from benchmarks.contenders import array_batches, fed
from benchmarks.worker import Prepared, memory

# Minimum photos per epoch: enough to make its start and end negligible.
_PHOTOS = 2400
_FIRST = 320  # Unmeasured at the start of an epoch, while threads start.


def _files(data_dir):
    """At least `_PHOTOS` JPEG files, repeated equally often."""
    if data_dir is None:
        import sklearn.datasets

        data_dir = pathlib.Path(sklearn.datasets.__file__).parent / "images"
    root = pathlib.Path(data_dir)
    names = sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg")
    )
    if not names:
        from keras_ffl.errors import InputError

        raise InputError(f"`data_dir` must hold JPEG files, got {data_dir}")
    return root, names * -(-_PHOTOS // len(names))


def _dataset(data_dir):
    import numpy as np

    from keras_ffl.data import PhotoDataset, PhotoFiles
    from keras_ffl.data.photos.photo_dataset import photo_info

    root, names = _files(data_dir)
    labels = np.arange(len(names), dtype="int32") % 10
    photos = PhotoFiles(str(root), np.array(names), labels)
    info = photo_info("photos", [str(k) for k in range(10)], 224)
    return PhotoDataset(info, photos, photos)


def _pass_over(batches, batch):
    """A contender that draws an epoch; its first batches aren't measured.

    Args:
        batches: Function that returns an iterable of an epoch.
        batch: Int, photos per element.
    """
    cpu_seconds = []
    started = _FIRST // batch

    def step():
        iterator = iter(batches())
        for _ in range(started):
            next(iterator)
        wall, cpu = time.perf_counter(), time.process_time()
        photos = batch * sum(1 for _ in iterator)
        cpu_seconds.append((time.process_time() - cpu) / photos)
        return (time.perf_counter() - wall) / photos

    return Prepared(step, facts={"cpu_seconds": cpu_seconds})


def _photo_by_photo(data_dir, make):
    """A contender that maps each photo by itself, without batches."""
    import tensorflow as tf

    root, names = _files(data_dir)
    encoded = [(root / name).read_bytes() for name in names]
    function = make(tf.constant(encoded))

    def photos():
        indices = tf.data.Dataset.range(len(names))
        return indices.map(function, tf.data.AUTOTUNE).prefetch(
            tf.data.AUTOTUNE
        )

    prepared = _pass_over(photos, 1)
    prepared.facts["photos"] = len(names)
    prepared.facts["kilobytes"] = sum(map(len, encoded)) / len(encoded) / 1000
    return prepared


def decode_jpeg(data_dir, batch):
    """`tf.io.decode_jpeg` alone."""
    import tensorflow as tf

    return _photo_by_photo(
        data_dir,
        lambda contents: lambda i: tf.io.decode_jpeg(contents[i], channels=3),
    )


def cut_and_resize(data_dir, batch):
    """The two operations that all training needs, with boxes drawn before."""
    import tensorflow as tf

    from keras_ffl.data.photos.decoding import random_box

    plan = _dataset(data_dir).training_batches(batch, 0).plan(0)
    draws = {"sides": plan.sides, "corner": plan.corner}

    def make(contents):
        boxes = tf.map_fn(
            lambda row: random_box(
                tf.io.extract_jpeg_shape(row[0])[:2], row[1]
            ),
            (contents, draws),
            fn_output_signature=tf.int32,
        )

        def cut(i):
            region = tf.image.decode_and_crop_jpeg(contents[i], boxes[i], 3)
            return tf.image.resize(region, (224, 224))

        return cut

    return _photo_by_photo(data_dir, make)


def training(data_dir, batch):
    """The batches of training on photos."""
    from keras_ffl.data import Augmentation

    dataset = _dataset(data_dir)
    return _pass_over(
        lambda: fed(
            dataset.training_batches(batch, 0, Augmentation(), smallest=batch)
        ),
        batch,
    )


def evaluation(data_dir, batch):
    """The batches of evaluation on photos."""
    dataset = _dataset(data_dir)
    return _pass_over(lambda: fed(dataset.evaluation_batches(batch)), batch)


def resident_memory(data_dir, batch, epochs):
    """Resident memory after each training epoch, in MiB."""
    from keras_ffl.data import Augmentation, steps_per_epoch

    dataset = _dataset(data_dir)
    resident = []

    def step():
        resident.clear()
        iterator = iter(
            fed(
                dataset.training_batches(
                    batch, 0, Augmentation(), epochs=epochs
                )
            )
        )
        for _ in range(epochs):
            for _ in range(steps_per_epoch(dataset.num_train, batch)):
                next(iterator)
            resident.append(memory()["now"])

    return Prepared(step, facts={"resident_mib": resident})


def arrays(batch):
    """Whole epochs of the batches of training on images in memory."""
    batches = fed(array_batches(batch))

    def step():
        start = time.perf_counter()
        count = sum(1 for _ in batches)
        return (time.perf_counter() - start) / count

    return Prepared(step)
