"""Functions that run in the workers; each returns a `Prepared`."""

import dataclasses
import functools
import tempfile
import time

from benchmarks.worker import Prepared

SIZES = (1024, 2048, 3072, 4096)
"""Sizes of the square matrices that determine the machine's rate."""


def matmul():
    """The machine's float32 rate: the best of square products of all sizes."""
    import tensorflow as tf

    multiply = tf.function(tf.matmul)
    matrices = {
        size: tf.random.stateless_normal((size, size), (0, size))
        for size in SIZES
    }

    def seconds(size):
        start = time.perf_counter()
        multiply(matrices[size], matrices[size])
        return (time.perf_counter() - start) / (2e-9 * size**3)

    def best():
        return min(seconds(size) for size in SIZES for _ in range(2))

    return Prepared(best, facts={"tensorflow": tf.__version__})


def pytorch(**options):
    """One training step in PyTorch."""
    from benchmarks import networks_torch

    return Prepared(networks_torch.training_step(**options))


def _batch(options):
    """Images and labels as tensors."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    size, count = options["image_size"], options["batch"]
    images = rng.normal(size=(count, size, size, 3)).astype("float32")
    labels = rng.integers(options["classes"], size=count)
    return tf.constant(images), tf.constant(labels)


def _compiled_step(model, options):
    """The bare compiled training step of a Keras model."""
    import tensorflow as tf

    step = tf.function(model.train_step, jit_compile=model.jit_compile)
    return functools.partial(step, _batch(options))


def stock_keras(jit_compile, batch, **options):
    """One training step of the model of stock Keras layers."""
    import keras

    from benchmarks import networks_keras

    model = networks_keras.build(**options)
    optimizer = keras.optimizers.SGD(
        0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    model.compile(optimizer, jit_compile=jit_compile)
    step = _compiled_step(model, {**options, "batch": batch})
    return Prepared(lambda: step() and None)


def build_ours(options, method="ffl"):
    """A training method on the networks of the options, compiled."""
    import keras

    from keras_ffl.config import Config
    from keras_ffl.training import build_method

    keras.utils.set_random_seed(0)
    names = options["names"]
    alike = len(set(names)) == 1
    run = Config(method=method, networks=tuple(names[:1] if alike else names))
    wanted = {
        "branches": len(names) if alike else 1,
        "separate_stages": options["separate_stages"],
        "fusion_width": "sum" if names[0].startswith("imagenet") else "min",
    }
    own = run.options.names()
    run = dataclasses.replace(
        run, options={k: v for k, v in wanted.items() if k in own}
    )
    shape = (options["image_size"], options["image_size"], 3)
    return build_method(run, options["classes"], shape)


def traced_facts(model):
    """The GFLOP of a model's training step, counted when it is traced.

    Args:
        model: Compiled `keras.Model`, before its first step.

    Returns:
        Dict, which has "gflop" after the first step.
    """
    import tensorflow as tf

    from benchmarks.products import count_products

    facts, train_step = {}, model.train_step

    def counted_step(data):
        logs = train_step(data)
        graph = tf.compat.v1.get_default_graph()
        facts["gflop"] = 2e-9 * count_products(graph)
        return logs

    model.train_step = counted_step
    return facts


def ours(method, **options):
    """One training step of keras_ffl."""
    model = build_ours(options, method)
    model.compile()
    facts = traced_facts(model)
    step = _compiled_step(model, options)
    return Prepared(lambda: step() and None, facts=facts)


def _repeated(options):
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(_batch(options)).cache().repeat()


def random_arrays(count, size, classes):
    """Images, labels and their `keras_ffl.data.DatasetInfo`."""
    import numpy as np

    from keras_ffl.data import DatasetInfo

    rng = np.random.default_rng(0)
    info = DatasetInfo(
        name="random",
        num_classes=classes,
        input_shape=(size, size, 3),
        class_names=[str(k) for k in range(classes)],
        mean=(120.0,) * 3,
        std=(60.0,) * 3,
        flip=True,
    )
    x = rng.integers(0, 256, (count, *info.input_shape), "uint8")
    return x, rng.integers(classes, size=count, dtype="int32"), info


def fed(batches):
    """`keras_ffl.data.Batches` as training on TensorFlow draws them."""
    import tensorflow as tf

    from keras_ffl.backend.tensorflow.feed import feed

    return feed(batches, tf.distribute.get_strategy())


def array_batches(batch, classes=100):
    """An epoch of images of CIFAR's number and size."""
    from keras_ffl.data import Augmentation, training_batches

    arrays = random_arrays(50_000, 32, classes)
    return training_batches(*arrays, batch, 0, Augmentation())


def trained(method, **options):
    """One training step as called by `fit`, with or without turns."""
    model = build_ours(options, method)
    model.compile()
    facts = traced_facts(model)
    model.make_train_function()
    batches = iter(_repeated(options))
    return Prepared(lambda: model.train_function(batches) and None, facts=facts)


def fit(method, steps=11, from_arrays=False, save_every=0, **options):
    """Training steps within `fit`, with the accuracy of every head.

    The batches come from the array pipeline, or one is prepared in memory.
    With `save_every` the state is saved after so many minutes.
    """
    import keras

    times = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    model = build_ours(options, method)
    model.compile(metrics=["accuracy"])
    if from_arrays:
        batches = array_batches(options["batch"], options["classes"])
        facts = {}  # The size of these batches is unknown when it is traced.
    else:
        batches = _repeated(options)
        facts = traced_facts(model)

    def run():
        times.clear()
        model.fit(
            batches,
            steps_per_epoch=steps,
            callbacks=[Clock(), *_saving(steps, save_every)],
            shuffle=False,  # Keras would warn.
        )
        return times[-1] - times[0]

    return Prepared(run, count=steps - 1, facts=facts)


def _saving(steps, every_minutes):
    """The callback that saves a run in the middle of an epoch, in a list."""
    import numpy as np

    from keras_ffl.backend.devices import Devices
    from keras_ffl.training.interruption import Interruption, StopRequest
    from keras_ffl.workdir import Workdir

    if not every_minutes:
        return []
    folder = Workdir(tempfile.mkdtemp())
    folder.checkpoints.mkdir()
    numbers = np.arange(steps)[:, None] + [0, 1]
    return [
        Interruption(StopRequest(), folder, Devices(), numbers, every_minutes)
    ]
