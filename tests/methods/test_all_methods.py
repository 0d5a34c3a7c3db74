"""What every method can do: `fit`, files, heads, export, replicas."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    METHODS,
    assert_close,
    compiled,
    data,
    largest_difference,
)
from support.processes import environment

from keras_ffl.data import Augmentation, DatasetInfo, training_batches
from keras_ffl.errors import InputError
from keras_ffl.export import export_head
from keras_ffl.methods import TrainingMethod
from keras_ffl.optimizers import SGD

tf = pytest.importorskip("tensorflow")
from keras_ffl.backend.tensorflow import steps  # noqa: E402

IMAGE = (4, 4, 3)
INFO = DatasetInfo(
    "toy", CLASSES, IMAGE, ("a", "b", "c"), (127,) * 3, (64,) * 3, False
)

LOGGED = {
    "ffl": "ce_fused ce_sub_1 ce_sub_2 ekd fkd distillation_weight",
    "vanilla": "ce_vanilla",
    "ensemble": "ce_sub_1 ce_sub_2",
    "dualnet": "ce_fused ce_sub_1 ce_sub_2",
    "one": "ce_teacher ce_sub_1 ce_sub_2 ce_sub_3 kd distillation_weight",
    "dml": "ce_sub_1 ce_sub_2 mutual_sub_1 mutual_sub_2 distillation_weight",
    "kd": "ce_student kd distillation_weight",
    "ffsd": "ce_fused ce_sub_1 ce_sub_2 ce_leader mutual_sub_1 mutual_sub_2 "
    "ekd fkd diversity_sub_2 attention distillation_weight",
    "pcl": "ce_fused ce_sub_1 ce_sub_2 pe pm distillation_weight",
}
HEADS = {
    "ffl": "fused sub_1 sub_2 ensemble",
    "vanilla": "vanilla",
    "ensemble": "sub_1 sub_2 ensemble",
    "dualnet": "fused sub_1 sub_2 average",
    "one": "teacher sub_1 sub_2 sub_3",
    "dml": "sub_1 sub_2 ensemble",
    "kd": "student teacher",
    "ffsd": "fused sub_1 sub_2 leader ensemble",
    "pcl": "fused sub_1 sub_2 teacher_1 teacher_2 ensemble",
}
PRIMARY = {
    "ffl": "fused",
    "vanilla": "vanilla",
    "ensemble": "ensemble",
    "dualnet": "average",
    "one": "teacher",
    "dml": "ensemble",
    "kd": "student",
    "ffsd": "leader",
    "pcl": "teacher_1",
}


def model_of(method, seed=0, **options):
    """The same weights at every call."""
    keras.utils.set_random_seed(seed)
    return METHODS[method](**options)


def values(model):
    """The weights without the count of epochs."""
    return [w.numpy() for w in model.weights if w.dtype == "float32"]


@pytest.fixture(scope="module", params=PRIMARY)
def trained(request, tmp_path_factory):
    """Name, model, history and folder of a short training of each method."""
    method = request.param
    folder = tmp_path_factory.mktemp(method)
    model = compiled(
        model_of(method, image=IMAGE),
        optimizer=SGD(0.05),
        metrics=["accuracy"],
        # Those in graphs that no other test compiles.
        run_eagerly=method not in ("one", "kd"),
    )
    x, y = data(8, image=IMAGE)
    monitor = "val_loss"
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=2,
        verbose=0,
        validation_data=data(4, image=IMAGE, seed=1),
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.1**epoch),
            keras.callbacks.EarlyStopping(monitor, patience=5),
            keras.callbacks.CSVLogger(folder / "history.csv"),
            keras.callbacks.ModelCheckpoint(
                folder / "best.keras", monitor, save_best_only=True
            ),
        ],
    ).history
    model.save(folder / "last.keras")
    return method, model, history, folder


def test_logs_and_callbacks(trained):
    method, _, history, folder = trained
    heads = HEADS[method].split()
    accuracies = [f"{head}_accuracy" for head in heads]
    if len(heads) == 1:
        accuracies = ["accuracy"]
    names = {"loss", *LOGGED[method].split(), *accuracies}
    validated = {f"val_{name}" for name in names}
    assert set(history) == {*names, *validated, "learning_rate"}
    for name, logged in history.items():
        assert len(logged) == 2 and np.isfinite(logged).all(), name
    assert history["learning_rate"] == pytest.approx([1.0, 0.1])
    rows = (folder / "history.csv").read_text().splitlines()
    assert set(rows[0].split(",")) == {"epoch", *history}
    assert len(rows) == 3
    best = keras.saving.load_model(folder / "best.keras", compile=False)
    epochs = 1 + int(np.argmin(history["val_loss"]))
    assert int(best.epochs_trained.numpy()) == epochs


def test_heads_are_plain_models(trained):
    method, model, _, _ = trained
    assert isinstance(model, TrainingMethod)
    assert model.heads == tuple(HEADS[method].split())
    assert model.primary_head == PRIMARY[method]
    x, _ = data(3, image=IMAGE, seed=2)
    outputs = model(x)
    outputs = {**outputs, **model.derived_heads(outputs)}
    assert list(outputs) == list(model.heads)
    for head, logits in outputs.items():
        network = model.classifier(head)
        assert type(network).__module__.startswith("keras.")
        assert network.output_shape == (None, CLASSES)
        np.testing.assert_allclose(network(x), logits, rtol=1e-5, atol=1e-6)


def test_a_loaded_model_goes_on(trained):
    method, model, _, folder = trained
    loaded = keras.saving.load_model(folder / "last.keras")
    assert type(loaded) is type(model)
    assert int(loaded.epochs_trained.numpy()) == 2
    assert int(loaded.optimizer.iterations.numpy()) == 4
    x, y = data(6, image=IMAGE, seed=2)
    expected = model(x)
    for head, logits in loaded(x).items():
        np.testing.assert_array_equal(logits, expected[head])
    before, results = values(loaded), []
    for each in (model, loaded):
        each.run_eagerly = True
        each.train_function = None
        each.fit(x, y, batch_size=3, shuffle=False, verbose=0)
        results.append(values(each))
    assert_close(*results, 1e-6)
    moved = [(a != b).any() for a, b in zip(before, results[1], strict=True)]
    # DualNet's joint training moves the three classifiers, KD the student.
    expected = {"dualnet": 6, "kd": 7}.get(method, len(before))
    assert sum(moved) == expected
    assert int(loaded.optimizer.iterations.numpy()) == 6


def test_export(trained):
    _, model, _, folder = trained
    export_head(model, model.primary_head, INFO, folder / "exported")
    served = tf.saved_model.load(str(folder / "exported"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *IMAGE), dtype=np.uint8)
    result = served.signatures["serving_default"](images=tf.constant(images))
    x = ((images.astype("float64") - 127) / 64).astype("float32")
    logits = model.classifier(model.primary_head)(x)
    np.testing.assert_allclose(
        result["probabilities"], keras.ops.softmax(logits), atol=1e-5
    )


# ----- weights of samples -------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_weighted_in_every_term(method):
    model = compiled(model_of(method), run_eagerly=True)
    x, y = data(4)
    weights = np.array([0.0, 0.5, 1.0, 3.0])

    def evaluate(*arrays):
        logs = model.test_on_batch(*arrays, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    alone = [evaluate(x[i : i + 1], y[i : i + 1]) for i in range(4)]
    together = evaluate(x, y, weights)
    for name, value in together.items():
        each = [logs[name] for logs in alone]
        if name == "distillation_weight":
            each = 1 / weights.mean()
        expected = np.mean(weights * each)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("method", ["ffl", "dml", "dualnet"])
def test_samples_of_weight_zero_train_nothing(method):
    x, y = data(4)
    other = np.where(np.arange(4) < 2, (y + 1) % CLASSES, y)
    some = np.array([0.0, 0.0, 1.0, 1.0])
    results = []
    for labels, weights in ((y, some), (other, some), (other, np.ones(4))):
        model = compiled(model_of(method), run_eagerly=True)
        model.train_on_batch(x, labels, weights)
        results.append(values(model))
    assert largest_difference(results[0], results[1]) == 0
    assert largest_difference(results[1], results[2]) > 1e-3


# ----- accumulation and replicas ------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_accumulation_where_networks_take_turns(method):
    model = model_of(method)
    optimizer = SGD(gradient_accumulation_steps=3)
    if method not in ("dml", "dualnet"):
        model.compile(optimizer)
        return
    message = (
        "`gradient_accumulation_steps` must be None for "
        f"{type(model).__name__}, whose networks take turns, got 3"
    )
    scaled = keras.optimizers.LossScaleOptimizer(
        SGD(gradient_accumulation_steps=3)
    )
    for each in (optimizer, scaled):
        with pytest.raises(InputError, match=message):
            model.compile(each)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_steps_as_a_tpu_takes_them(method, monkeypatch):
    """Batches of one static size, compiled whole by XLA."""
    monkeypatch.setattr(steps, "has_accelerator", lambda: True)
    x, y = data(10, image=IMAGE)
    pixels = np.clip(60 * x + 120, 0, 255).astype("uint8")
    static = training_batches(
        pixels, y, INFO, 4, 0, Augmentation(pad=1), epochs=3, smallest=4
    )
    histories, models = [], []
    for jit_compile in (True, False):
        model = compiled(
            model_of(method, image=IMAGE),
            optimizer=SGD(0.05),
            metrics=["accuracy"],
            jit_compile=jit_compile,
        )
        history = model.fit(
            static,
            epochs=3,
            steps_per_epoch=2,
            validation_data=static,
            validation_steps=2,
            verbose=0,
        )
        assert int(model.optimizer.iterations) == 6
        pixels, labels = model.feed(static).element_spec
        assert (pixels.values.shape, labels.shape) == ((4, *IMAGE), (4,))
        histories.append(history.history)
        models.append(model)
    assert histories[0].keys() == histories[1].keys()
    for name, expected in histories[1].items():
        assert histories[0][name] == pytest.approx(expected, rel=1e-4), name
    for found, expected in zip(*map(values, models), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # XLA would refuse what calls Python; on a TPU nothing else may either.
    # Outside of `fit`, whose step is traced for each turn.
    models[1]._turn = next(iter(models[1].turns), None)
    step = tf.function(models[1].train_step)
    graph = step.get_concrete_function(next(iter(static))).graph
    host = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "Assert", "PrintV2"}
    assert not host & {op.type for op in graph.get_operations()}


REPLICAS = """
import sys
from support import builders
import keras
import numpy as np
import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2


def run(method, x, y, weights):
    keras.utils.set_random_seed(5)
    model = builders.compiled(
        builders.METHODS[method](),
        optimizer=builders.HandSGD().optimizer(),
        run_eagerly=True,
    )
    history = model.fit(
        x, y, batch_size=len(x), sample_weight=weights, shuffle=False,
        verbose=0,
    ).history
    buffers = builders.momentums(model, model.trainable_variables)
    return history, [w.numpy() for w in model.weights], buffers


# Both replicas get the batch that the one device gets, so that they have its
# statistics, but each with weights of its own; the device has their mean.
x, y = builders.data(4)
weights = np.random.default_rng(0).uniform(0, 2, (2, 4)).astype("float32")
for method in sys.argv[1:]:
    one = run(method, x, y, weights.mean(axis=0))
    with strategy.scope():
        two = run(
            method,
            np.concatenate([x, x]),
            np.concatenate([y, y]),
            weights.reshape(-1),
        )
    assert set(one[0]) == set(two[0])
    for name, values in one[0].items():
        np.testing.assert_allclose(two[0][name], values, 1e-4, 1e-5, name)
    for ours, expected in zip(two[1:], one[1:]):
        builders.assert_close(ours, expected, 1e-5)
"""


@pytest.mark.parametrize(
    "methods",
    [["dml"], pytest.param(["dualnet", "ffsd"], marks=pytest.mark.slow)],
)
def test_two_replicas_train_as_one_device_does(methods):
    command = [sys.executable, "-c", REPLICAS, *methods]
    subprocess.run(command, env=environment(), check=True)
