"""Labels of two kinds, batches of several steps, losses of one's own."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import (
    CLASSES,
    branches,
    compiled,
    cross_entropy,
    data,
    ffl,
    separate,
    subnetwork,
)

from keras_ffl import (
    FeatureFusionModel,
    InputError,
    MutualLearningModel,
    VanillaModel,
)
from keras_ffl.data import Batches, DatasetInfo, evaluation_batches
from keras_ffl.losses import SoftmaxKL
from keras_ffl.optimizers import SGD
from keras_ffl.tasks import MultiLabel, Regression, Segmentation


@pytest.mark.parametrize("metrics", [["accuracy"], None])
def test_integers_to_validate_training_on_rows(metrics):
    x, y = data()
    rows = np.eye(CLASSES, dtype="float32")[y]
    model = compiled(ffl(), metrics=metrics)
    history = model.fit(x, rows, validation_data=(x, y), verbose=0).history
    expected = model.evaluate(x, rows, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert history[f"val_{name}"] == pytest.approx([value], rel=1e-5), name


def test_rows_to_validate_training_on_integers():
    x, y = data()
    validation = x, np.eye(CLASSES, dtype="float32")[y]
    model = compiled(ffl(), metrics=["accuracy"])
    with pytest.raises(InputError, match="`y` must be integers .* got rows"):
        model.fit(x, y, validation_data=validation, verbose=0)
    # Without metrics nothing depends on the form.
    compiled(ffl()).fit(x, y, validation_data=validation, verbose=0)


def batches():
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (11, 4, 4, 2)).astype("uint8")
    info = DatasetInfo(
        "toy", CLASSES, (4, 4, 2), tuple("abc"), (120.0, 110), (60.0, 61), True
    )
    return evaluation_batches(x, np.arange(11) % CLASSES, info, 2)


def test_evaluation_of_batches_of_several_steps_per_call():
    single = batches()
    options = dataclasses.replace(single.options, steps_per_call=3)
    several = Batches(single.examples, single.info, options)
    model = compiled(ffl(), metrics=["accuracy"])
    found, expected = (
        model.evaluate(each, verbose=0, return_dict=True)
        for each in (several, single)
    )
    assert found == pytest.approx(expected)
    predicted = model.predict(several, verbose=0)
    assert len(predicted["fused"]) == 11


def test_class_weight_of_batches():
    model = compiled(ffl())
    class_weight = dict.fromkeys(range(CLASSES), 0.0)
    if keras.backend.backend() == "jax":
        with pytest.raises(InputError, match="`class_weight` must be None"):
            model.fit(batches(), class_weight=class_weight)
        return
    history = model.fit(batches(), class_weight=class_weight, verbose=0).history
    assert history["loss"] == [0.0]


# ----- a method's and a task's own parts ----------------------------------


class Weighted(VanillaModel):
    """Scales its loss by the square of a weight of its own.

    By the weight itself the update would not depend on its value, and
    TensorFlow's graph rewriting then sometimes reads it after the update.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.scale = self.add_weight(shape=(), initializer="ones")

    def supervised_terms(self, y, logits):
        terms = super().supervised_terms(y, logits)
        return {name: term * self.scale**2 for name, term in terms.items()}


def test_a_weight_in_the_loss_is_trained():
    x, y = data()
    model = compiled(Weighted(subnetwork()))
    loss = model.train_on_batch(x, y, return_dict=True)["loss"]
    # SGD at a rate of 0.05; the slope is twice the loss.
    assert float(model.scale.numpy()) == pytest.approx(1 - 0.1 * loss, rel=1e-4)


class Own(Regression):
    """A loss of its own."""

    def __init__(self, function):
        self.function = function

    def loss(self, y, outputs):
        return self.function(y, outputs)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda y, z: ops.square(y - z), (7, 3)),
        (lambda y, z: ops.mean(ops.square(y - z)), ()),
        (lambda y, z: ops.mean(ops.square(y - z), axis=0), (3,)),
    ],
)
def test_terms_are_numbers_by_sample(function, shape):
    model = VanillaModel(subnetwork(), task=Own(function))
    with pytest.raises(InputError, match="one number for each sample") as error:
        model.compile()
    assert f"got shape {shape}" in str(error.value)


def test_a_loss_with_arrays_and_keras_losses():
    weights = np.array([1.0, 2.0, 3.0], "float32")
    x, _ = data()
    y = np.ones((8, 3), "float32")
    for function in (
        lambda y, z: ops.mean(weights * ops.square(y - z), axis=-1),
        lambda y, z: keras.losses.huber(y, z),
    ):
        model = compiled(VanillaModel(subnetwork(), task=Own(function)))
        outputs = model.predict(x, verbose=0)["vanilla"]
        expected = np.mean(ops.convert_to_numpy(function(y, outputs)))
        found = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "term",
    [
        lambda y, z: keras.losses.sparse_categorical_crossentropy(
            y, z, from_logits=True
        ),
        lambda y, z: (
            -ops.take_along_axis(ops.log_softmax(z), y[:, None], axis=1)[:, 0]
        ),
        lambda y, z: (
            -ops.sum(ops.one_hot(y, CLASSES) * ops.log_softmax(z), axis=-1)
        ),
    ],
)
def test_terms_of_integer_labels(term):
    class OfIntegers(VanillaModel):
        def supervised_terms(self, y, logits):
            return {"mine": term(y, logits["vanilla"])}

    x, y = data()
    model = compiled(OfIntegers(subnetwork()), run_eagerly=True)
    logits = model.predict(x, verbose=0)["vanilla"]
    expected = cross_entropy(np.eye(CLASSES)[y], logits).mean()
    found = model.evaluate(x, y, verbose=0, return_dict=True)["mine"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_mistakes_in_terms_of_integer_labels():
    class OfIntegers(VanillaModel):
        def supervised_terms(self, y, logits):
            one_hot = ops.one_hot(y, CLASSES)
            return {"mine": ops.sum(one_hot * logits["mistyped"], axis=-1)}

    with pytest.raises(KeyError) as error:
        OfIntegers(subnetwork()).compile()
    assert error.value.__notes__ == ["For integer labels: 'mistyped'"]


# ----- options that change ------------------------------------------------


def test_an_option_that_changes_while_it_trains():
    x, y = data()

    def history(temperature_of):
        keras.utils.set_random_seed(0)
        model = compiled(ffl(temperature=temperature_of(0)), SGD(0.0))

        def anneal(epoch, logs):
            if temperature_of(epoch) != model.temperature:
                model.temperature = temperature_of(epoch)

        return model.fit(
            x,
            y,
            validation_data=(x, y),
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=anneal)],
        ).history

    found = history(lambda epoch: 3.0 - epoch)
    for epoch, temperature in enumerate((3.0, 2.0)):
        expected = history(lambda _: temperature)
        for name in ("fkd", "val_fkd"):
            assert found[name][epoch] == pytest.approx(
                expected[name][epoch], rel=1e-6
            )


def test_which_options_may_change():
    class Mine(FeatureFusionModel):
        def __init__(self, *arguments, alpha=1.0, **options):
            super().__init__(*arguments, **options)
            self.alpha = alpha

    x, y = data()
    model = compiled(Mine(branches(), 0))
    model.train_on_batch(x, y)
    for name, value in {"temperature": 30.0, "alpha": 2.0}.items():
        before = model.train_function
        setattr(model, name, value)
        assert model.train_function is not before
        before = model.train_function
        setattr(model, name, value)
        assert model.train_function is before
    with pytest.raises(AttributeError):
        model.detach_fusion = True
    with pytest.raises(AttributeError):
        MutualLearningModel(separate()).simultaneous = True
    with pytest.raises(TypeError):
        model.supervised_weights["ce_fused"] = 2.0


def test_terms_that_come_and_go():
    x, y = data()
    model = compiled(ffl(use_fkd=False))
    assert "fkd" not in model.train_on_batch(x, y, return_dict=True)
    model.use_fkd = True
    with pytest.raises(InputError, match="`fkd` is no term of Feature.* after"):
        model.train_on_batch(x, y)
    compiled(model)
    assert model.train_on_batch(x, y, return_dict=True)["fkd"] > 0
    model.use_ekd = False
    compiled(model)
    logs = model.fit(x, y, verbose=0).history
    assert "ekd" not in logs and "fkd" in logs
    with pytest.raises(InputError, match="`ce_fused` is no term of Feature"):
        ffl().compute_loss(x, y, ffl()(x))


def test_a_divergence_does_not_train_the_teacher():
    @keras.saving.register_keras_serializable(package="test_labels_and_steps")
    class Squares(SoftmaxKL):
        def __call__(self, teacher, student, temperature, y=None):
            return ops.mean(ops.square(teacher - student), axis=-1)

    class Constant(Squares):
        def __call__(self, teacher, *others):
            return super().__call__(ops.stop_gradient(teacher), *others)

    x, y = data()
    weights = []
    for divergence in (Squares(), Constant()):
        keras.utils.set_random_seed(0)
        model = compiled(ffl(distillation=divergence), run_eagerly=True)
        model.train_on_batch(x, y)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("task", [MultiLabel(), Regression()])
def test_what_only_classes_have(task):
    x, _ = data()
    model = compiled(VanillaModel(subnetwork(), task=task))
    with pytest.raises(InputError, match="`class_weight` must be None for"):
        model.fit(x, np.ones((8, 3)), class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(InputError, match="`class_weight` must be None for"):
        model.train_on_batch(x, np.ones((8, 3)), class_weight={1: 2.0})
    for name in ("binary_accuracy", "AUC", "precision_at_recall", "accuracy"):
        with pytest.raises(InputError, match=f"'{name}' is a metric of"):
            model.compile(metrics=[name])


def test_metrics_of_probabilities():
    model = VanillaModel(subnetwork())
    for name in ("sparse_categorical_crossentropy", "KLDivergence", "ce"):
        with pytest.raises(InputError, match=f"'{name}' is a metric of"):
            model.compile(metrics=["accuracy", name])


def test_labels_of_another_size():
    """Networks for images of any size know it only in a step."""
    image = keras.Input((None, None, 2))
    features = keras.layers.Conv2D(3, 3, padding="same")(image)
    outputs = {
        "features": features,
        "logits": keras.layers.Conv2D(1, 1)(features),
    }
    network = keras.Model(image, outputs)
    model = compiled(VanillaModel(network, task=Regression()))
    x, _ = data(image=(4, 6, 2))
    y = np.arange(8.0 * 24).reshape(8, 4, 6, 1)
    expected = np.mean((y - model.predict(x, verbose=0)["vanilla"]) ** 2)
    for labels in (y, y[..., 0]):
        loss = compiled(model).evaluate(x, labels, verbose=0, return_dict=True)[
            "loss"
        ]
        assert loss == pytest.approx(expected, rel=1e-5)
    outputs = {
        "features": features,
        "logits": keras.layers.Conv2D(3, 1)(features),
    }
    pixels = VanillaModel(keras.Model(image, outputs), task=Segmentation())
    with pytest.raises(InputError, match="^`y` must have a label for each pix"):
        compiled(pixels).fit(x, np.zeros((8, 6, 4), int), verbose=0)
    wrong = [
        np.resize(y, shape)
        for shape in ((8, 6, 4, 1), (8, 4, 2, 3), (8, 1, 1, 1), (8, 6, 4))
    ]
    for labels in wrong:
        compiled(model)
        for run in (model.fit, model.evaluate):
            with pytest.raises(InputError, match="^`y` must have"):
                run(x, labels, verbose=0)
    if keras.backend.backend() == "jax":
        return
    tf = pytest.importorskip("tensorflow")
    # Of sizes that only the step knows.
    for labels in wrong:
        batches = tf.data.Dataset.from_generator(
            lambda labels=labels: [(x, labels)],
            output_signature=(
                tf.TensorSpec((None, None, None, 2), "float32"),
                tf.TensorSpec((None,) * labels.ndim, "float32"),
            ),
        )
        with pytest.raises(tf.errors.InvalidArgumentError):
            compiled(model).evaluate(batches, verbose=0)


@pytest.mark.parametrize("task", [MultiLabel(), Regression()])
def test_one_output(task):
    model = FeatureFusionModel.from_branches(
        "resnet8",
        num_classes=1,
        rampup_epochs=0,
        input_shape=(8, 8, 3),
        task=task,
    )
    assert model.head_shape == (None, 1)
