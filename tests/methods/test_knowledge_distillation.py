"""Distillation from a trained network, which nothing changes."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    METHODS,
    HandSGD,
    assert_close,
    branches,
    compiled,
    cross_entropy,
    data,
    kl,
    mean_cross_entropy,
    mean_kl,
    moved,
    subnetwork,
    teacher,
)

from keras_ffl import FeatureFusionModel, as_subnetwork
from keras_ffl.errors import InputError
from keras_ffl.methods import KnowledgeDistillationModel

tf = pytest.importorskip("tensorflow")


def kd(source=None, **options):
    """A student and, by default, a teacher of a larger network."""
    source = teacher() if source is None else source
    return KnowledgeDistillationModel(moved(subnetwork()), source, **options)


def fit(model, epochs=2):
    model = compiled(model, optimizer=HandSGD().optimizer(), run_eagerly=True)
    x, y = data()
    return model.fit(
        x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0
    ).history


def values(model):
    return [weight.numpy().tobytes() for weight in model.weights]


def classifier(end):
    """A classifier with what `end` puts on its pooled features."""
    image = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(5, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return moved(keras.Model(image, end(x)))


# ----- loss and updates ---------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_against_numpy(temperature):
    source = teacher()
    model = compiled(kd(source, temperature=temperature), run_eagerly=True)
    assert model.heads == model.trained_heads == ("student", "teacher")
    assert model.primary_head == "student"
    x, y = data()
    student, wise = model.network(x)["logits"].numpy(), source(x).numpy()
    expected = {
        "ce_student": cross_entropy(np.eye(CLASSES)[y], student).mean(),
        "kd": kl(wise, student, temperature).mean(),
    }
    expected["loss"] = expected["ce_student"] + expected["kd"]
    expected["distillation_weight"] = 1.0
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-4)
    assert expected["kd"] > 1e-2
    for head, logits in (("student", student), ("teacher", wise)):
        np.testing.assert_allclose(
            model.classifier(head)(x), logits, rtol=1e-5, atol=1e-6
        )


def test_updates_equal_those_by_hand():
    source, x, y = teacher(), *data()
    model = kd(source, temperature=2.0, rampup_epochs=1)
    student = keras.models.clone_model(model.network)
    student.set_weights(model.network.get_weights())
    fit(model)
    sgd = HandSGD()
    for step, factor in enumerate([np.exp(-5)] * 2 + [1.0] * 2):
        part = slice(4 * (step % 2), 4 * (step % 2) + 4)
        with tf.GradientTape() as tape:
            logits = student(x[part], training=True)["logits"]
            divergence = mean_kl(source(x[part]), logits, 2.0)
            loss = mean_cross_entropy(y[part], logits) + factor * divergence
        sgd.step(tape, loss, student.trainable_variables)
    assert_close(model.network.weights, student.weights)


# ----- the teacher --------------------------------------------------------


def test_training_does_not_change_the_teacher():
    model = kd()
    assert len(model.teacher.weights) == 7
    assert model.teacher.trainable_variables == []
    own = {id(weight) for weight in model.network.trainable_variables}
    assert {id(variable) for variable in model.trainable_variables} == own
    before, students = values(model.teacher), values(model.network)
    fit(model)
    assert values(model.teacher) == before
    after = values(model.network)
    assert all(new != old for new, old in zip(after, students, strict=True))


def test_the_teacher_runs_as_in_inference():
    source = classifier(
        lambda x: keras.layers.Dense(CLASSES)(keras.layers.Dropout(0.5)(x))
    )
    model, (x, _) = kd(source), data()
    expected = source(x, training=False)
    assert np.abs(source(x, training=True) - expected).max() > 1e-2
    for training in (True, False):
        logits = model(x, training=training)["teacher"]
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@keras.saving.register_keras_serializable()
class AddsOne(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.ones(()))
        return x


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_what_the_teacher_s_layers_add_to_a_loss(run_eagerly):
    student, source = (
        keras.Model(net.inputs, AddsOne()(logits))
        for net in [subnetwork()]
        for logits in [net.output["logits"]] * 2
    )
    model = KnowledgeDistillationModel(as_subnetwork(student), source)
    model = compiled(model, run_eagerly=run_eagerly)
    logs = model.train_on_batch(*data(), return_dict=True)
    terms = logs["ce_student"] + logs["kd"]
    assert logs["loss"] == pytest.approx(terms + 1.0, rel=1e-5)
    logs = model.test_on_batch(*data(), return_dict=True)
    terms = logs["ce_student"] + logs["kd"]
    assert logs["loss"] == pytest.approx(terms + 1.0, rel=1e-5)


def test_the_user_s_model_stays_as_it_is():
    source = teacher()
    before = values(source)
    trainable = len(source.trainable_weights)
    model = kd(source)
    fit(model)
    assert values(source) == before
    assert source.trainable
    assert len(source.trainable_weights) == trainable == 5
    mine = {id(weight) for weight in source.weights}
    assert not mine & {id(weight) for weight in model.weights}
    # Nor does training the user's model change the copy.
    copy = values(model.teacher)
    moved(source)
    assert values(model.teacher) == copy


@pytest.mark.parametrize(
    "end",
    [
        lambda x: keras.layers.Dense(CLASSES, activation="softmax")(x),
        lambda x: keras.layers.Softmax()(keras.layers.Dense(CLASSES)(x)),
        lambda x: keras.ops.softmax(keras.layers.Dense(CLASSES)(x)),
        lambda x: keras.activations.softmax(keras.layers.Dense(CLASSES)(x)),
    ],
    ids=["activation", "layer", "operation", "activation function"],
)
def test_probabilities_become_logits(end):
    source = classifier(end)
    model, (x, _) = kd(source), data()
    logits = model(x)["teacher"].numpy()
    probabilities = source(x).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    # Equal to their logarithm but for a constant of each sample.
    offset = logits - np.log(probabilities)
    assert offset.std(axis=-1).max() < 1e-5
    assert np.abs(logits.sum(axis=-1) - 1).max() > 1e-2


def two_classifiers(x):
    return keras.layers.Average()(
        [keras.layers.Dense(CLASSES, activation="softmax")(x) for _ in "ab"]
    )


def test_the_mean_of_probabilities_teaches_as_its_logarithm(tmp_path):
    source = classifier(two_classifiers)
    with pytest.raises(
        InputError, match="^`teacher_from_logits` must be False"
    ):
        kd(source)
    model, (x, _) = kd(source, teacher_from_logits=False), data()
    np.testing.assert_allclose(
        model(x)["teacher"], np.log(source(x)), rtol=1e-5, atol=1e-6
    )
    # It is said once: the file holds the logarithm.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x)["teacher"], model(x)["teacher"])


def test_a_teacher_that_contradicts_what_is_said_of_it():
    probabilities = classifier(
        lambda x: keras.layers.Dense(CLASSES, activation="softmax")(x)
    )
    for source, said in ((probabilities, True), (teacher(), False)):
        with pytest.raises(InputError, match="^`teacher_from_logits` must not"):
            kd(source, teacher_from_logits=said)
    with pytest.raises(InputError, match="must be True, False or None, got 1"):
        kd(teacher_from_logits=1)


def test_a_teacher_that_cannot_be_copied():
    source = classifier(
        lambda x: keras.layers.Lambda(lambda z: 2 * z)(
            keras.layers.Dense(CLASSES)(x)
        )
    )
    with pytest.raises(InputError, match="^`teacher` can't be copied because"):
        kd(source)


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("ffl", "fused"),
        ("ffl", "ensemble"),
        ("one", "teacher"),
        # Its networks are nested models.
        ("dml", "sub_2"),
    ],
)
def test_a_head_of_another_method_teaches(method, head, tmp_path):
    source = moved(METHODS[method]())
    model, (x, _) = kd(source.classifier(head)), data()
    expected = source.classifier(head)(x)
    np.testing.assert_allclose(
        model(x)["teacher"], expected, rtol=1e-5, atol=1e-6
    )
    before = values(source)
    fit(model, epochs=1)
    assert values(source) == before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x)["teacher"], model(x)["teacher"])
    # What the loaded teacher has inside is frozen, too.
    before = values(loaded.teacher)
    fit(loaded, epochs=1)
    assert values(loaded.teacher) == before


@pytest.mark.parametrize("own", [False, True])
def test_the_teacher_gets_images_that_are_prepared_once(own, tmp_path):
    """Its own preprocessing, or one that KD runs before both."""
    half = keras.layers.Rescaling(0.5)
    x, _ = data()
    if own:
        source = moved(FeatureFusionModel(branches(), 0, preprocessing=half))
        student, wise = source.subnetworks[0], source.classifier("fused")
        model = KnowledgeDistillationModel(student, wise)
        expected = wise(x)
    else:
        student, wise = subnetwork(), teacher()
        model = KnowledgeDistillationModel(student, wise, preprocessing=half)
        expected = wise(0.5 * x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = type(loaded).from_config(loaded.get_config())
    again.set_weights(loaded.get_weights())
    for each in (model, loaded, again):
        np.testing.assert_allclose(each(x)["teacher"], expected, rtol=1e-5)
        np.testing.assert_allclose(each(x)["student"], model(x)["student"])


def test_the_file_carries_the_teacher(tmp_path):
    model = kd(temperature=2.0, rampup_epochs=1, name="pupil")
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.temperature, loaded.rampup_epochs) == (2.0, 1)
    assert loaded.name == "pupil"
    assert values(loaded.teacher) == values(model.teacher)
    assert values(loaded.network) == values(model.network)
    before = values(loaded.teacher)
    again = [
        one.fit(*data(), shuffle=False, verbose=0).history
        for one in (model, loaded)
    ]
    assert again[0] == again[1]
    assert values(loaded.teacher) == before
    assert loaded.teacher.trainable_variables == []
    assert values(loaded.network) == values(model.network)


def test_the_student_s_feature_map():
    model, (x, _) = kd(), data()
    np.testing.assert_array_equal(
        model.feature_extractor()(x), model.network(x)["features"]
    )
    with pytest.raises(InputError, match="one of student, got 'teacher'"):
        model.feature_extractor("teacher")


# ----- bad input ----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "`teacher` must be a trained functional keras.Model, got None"),
        ("runs/1", "`teacher` must be a trained functional .* got 'runs/1'"),
        (subnetwork, "`teacher` must have one output, 'net' has 2"),
        (
            lambda: classifier(
                lambda x: keras.layers.Dense(CLASSES, activation="relu")(x)
            ),
            "`teacher` must end in logits or .*`teacher_from_logits` must be",
        ),
        (
            lambda: teacher(image=(5, 4, 2)),
            r"take the images of `network`, \(4, 4, 2\), got \(5, 4, 2\)",
        ),
        (
            lambda: teacher(classes=4),
            r"`teacher` must give the outputs of `network`, \(3,\), got \(4,\)",
        ),
    ],
    ids=["none", "path", "several outputs", "relu", "images", "classes"],
)
def test_no_teacher(source, message):
    source = source() if callable(source) else source
    with pytest.raises(InputError, match=message):
        KnowledgeDistillationModel(subnetwork(), source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "`temperature` must be a number > 0, got 0"),
        ({"rampup_epochs": -1}, "`rampup_epochs` must be a number >= 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        kd(**options)


def test_no_student():
    with pytest.raises(InputError, match="`network` must be a functional"):
        KnowledgeDistillationModel(teacher(), teacher())
