"""One preprocessing before all sub-networks: they see the same image."""

import keras
import numpy as np
import pytest
from support.builders import (
    IMAGE,
    assert_close,
    branches,
    compiled,
    data,
    largest_difference,
    pair,
    subnetwork,
)
from test_cautions import RandomShift

from keras_ffl import FeatureFusionModel
from keras_ffl.errors import InputError
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
)

LAYERS = keras.layers


def distilled(networks, **options):
    """The first network with a teacher, whose copy of it the teacher is."""
    wise = keras.Model(networks[0].input, networks[0].output["logits"])
    return KnowledgeDistillationModel(networks[0], wise, **options)


METHODS = {
    "ensemble": EnsembleModel,
    "dml": MutualLearningModel,
    "dml_simultaneous": lambda networks, **options: MutualLearningModel(
        networks, simultaneous=True, **options
    ),
    "ffl": lambda networks, **options: FeatureFusionModel(
        networks, 0, **options
    ),
    "dualnet": lambda networks, **options: DualNetModel(networks, 1, **options),
    "one": lambda networks, **options: OneModel(branches(), 0, **options),
    "kd": distilled,
}


def made(method, seed=0, **options):
    """The same weights at every call."""
    keras.utils.set_random_seed(seed)
    return METHODS[method](pair(), **options)


def twins(method, **options):
    """A model of two networks with the same weights."""
    model = made(method, **options)
    first, second = model.subnetworks
    second.set_weights(first.get_weights())
    return model


def as_arrays(outputs):
    return {
        head: keras.ops.convert_to_numpy(logits)
        for head, logits in outputs.items()
    }


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"kd"}))
def test_all_networks_see_one_image(method):
    """Behind one random preprocessing equal networks agree."""
    model = twins(method, preprocessing=RandomShift())
    x, _ = data()
    drawn = [as_arrays(model(x, training=True)) for _ in range(2)]
    for outputs in drawn:
        np.testing.assert_allclose(
            outputs["sub_1"], outputs["sub_2"], rtol=1e-5, atol=1e-6
        )
    assert largest_difference(*([d["sub_1"]] for d in drawn)) > 1e-2
    # In inference nothing is drawn.
    still = [as_arrays(model(x, training=False)) for _ in range(2)]
    np.testing.assert_array_equal(still[0]["sub_1"], still[1]["sub_1"])


def test_kd_teaches_on_the_image_of_the_student():
    """A frozen student in inference mode is its own teacher."""
    network = subnetwork()
    network.trainable = False
    model = distilled([network], preprocessing=RandomShift())
    outputs = as_arrays(model(data()[0], training=True))
    np.testing.assert_allclose(
        outputs["student"], outputs["teacher"], rtol=1e-5, atol=1e-6
    )


def test_dml_draws_once_in_a_step():
    """Also where each network is called by itself, and twice."""
    model = compiled(
        twins("dml", preprocessing=RandomShift()), run_eagerly=False
    )
    x, y = data()
    generator = model.get_layer("shared_preprocessing").layers[-1].generator
    logged = []
    for _ in range(2):
        before = keras.ops.convert_to_numpy(generator.state).copy()
        logs = model.train_on_batch(x, y, return_dict=True)
        after = keras.ops.convert_to_numpy(generator.state)
        # Counters: one draw a step.
        assert (after - before).tolist() == [0, 1]
        logged.append(logs)
    assert logged[0]["ce_sub_1"] == pytest.approx(logged[0]["ce_sub_2"])
    assert logged[0]["mutual_sub_1"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_that_of_prepared_images(method):
    x, y = data()
    results = []
    for images, options in (
        (x, {"preprocessing": LAYERS.Rescaling(0.5, 0.1)}),
        (x * 0.5 + 0.1, {}),
    ):
        model = compiled(made(method, **options), run_eagerly=True)
        logs = model.train_on_batch(images, y, return_dict=True)
        results.append((model.get_weights(), logs))
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5, abs=1e-6)
    assert_close(results[0][0], results[1][0], 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_saved_loaded_and_trained_on(method, tmp_path):
    model = compiled(made(method, preprocessing=RandomShift()))
    x, y = data()
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = as_arrays(model(x, training=False))
    for head, logits in as_arrays(loaded(x, training=False)).items():
        np.testing.assert_array_equal(logits, expected[head])
    assert np.isfinite(loaded.train_on_batch(x, y)).all()
    # It is one layer before all, as it was.
    again = [as_arrays(loaded(x, training=True)) for _ in range(2)]
    assert largest_difference(*(each.values() for each in again)) > 1e-2
    layers = [layer.name for layer in loaded.layers]
    assert layers.count("shared_preprocessing") == 1


@pytest.mark.parametrize("method", ["ensemble", "dualnet"])
def test_weights_of_a_preprocessing_stay(method, tmp_path):
    """And are no shared weights that would be refused."""
    scale = LAYERS.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])
    mix = keras.Sequential([scale, LAYERS.Conv2D(2, 1)])
    mix.build((None, *IMAGE))
    model = compiled(made(method, preprocessing=mix), run_eagerly=True)
    before = mix.get_weights()
    model.train_on_batch(*data())
    inner = model.get_layer("shared_preprocessing")
    assert inner.trainable_weights == []
    for one, other in zip(inner.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    # A copy: the user's own layer stays trainable.
    assert len(mix.trainable_weights) == 2
    model.save(tmp_path / "model.keras")
    x, _ = data()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        as_arrays(loaded(x, training=False))["sub_1"],
        as_arrays(model(x, training=False))["sub_1"],
    )


def test_a_head_prepares_its_images():
    model = made("ffl", preprocessing=LAYERS.Rescaling(0.5))
    plain = made("ffl")
    plain.set_weights(model.get_weights())
    x, _ = data()
    for head in model.heads:
        logits = model.classifier(head)(x)
        expected = plain.classifier(head)(0.5 * x)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_drawn_unless_a_head_is_told_to_train():
    """Keras' random layers draw where nobody says what they are to do."""
    pytest.importorskip("tensorflow")
    model = made("ffl", preprocessing=LAYERS.RandomTranslation(0.5, 0.5))
    x, _ = data()
    network = model.classifier("sub_1")
    before = network.get_weights()
    expected = network.predict(x, verbose=0)
    np.testing.assert_allclose(network(x), expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert largest_difference([network(x, training=True)], [expected]) > 1e-2


def test_an_image_size_of_its_own():
    resize = keras.Sequential([keras.Input((8, 8, 2)), LAYERS.Resizing(4, 4)])
    for method in ("ffl", "kd", "one"):
        model = made(method, preprocessing=resize)
        assert model.input_shape == (None, 8, 8, 2)
        assert model.count_params() == made(method).count_params()


def test_one_keeps_its_trunk():
    model = made("one", preprocessing=LAYERS.Rescaling(0.5))
    assert model.gate.dense.kernel.shape == (2, 2)
    (gate,) = [layer for layer in model.layers if layer.name == "gate"]
    assert gate.input.shape == (None, 4, 4, 2)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        ("flip", "`preprocessing` must be a Keras layer, a model or a func"),
        (LAYERS.Resizing(3, 3), r"must give one tensor .*\(None, 4, 4, 2\)"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_bad_preprocessing(method, preprocessing, message):
    with pytest.raises(InputError, match=message):
        made(method, preprocessing=preprocessing)


def test_one_that_takes_something_else():
    tf = pytest.importorskip("tensorflow")
    count = LAYERS.TextVectorization(
        output_sequence_length=4, vocabulary=["a", "b", "c"]
    )

    def network():
        x = keras.Input((4,), dtype="int32")
        features = LAYERS.Dense(5)(LAYERS.Rescaling(0.1)(x))
        outputs = {"features": features, "logits": LAYERS.Dense(3)(features)}
        return keras.Model(x, outputs)

    networks = [network(), network()]
    with pytest.raises(InputError, match="`preprocessing` can't be called on"):
        EnsembleModel(networks, preprocessing=count)
    text = keras.Input((), dtype="string")
    model = EnsembleModel(
        networks, preprocessing=keras.Model(text, count(text))
    )
    found = model(tf.constant(["a c"]))["sub_1"]
    expected = networks[0](np.array([[2, 4, 0, 0]]))["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_of_them():
    model = made("ffl", preprocessing=LAYERS.Rescaling(0.5))
    message = "`preprocessing` must be None for sub-networks that already"
    with pytest.raises(InputError, match=message):
        FeatureFusionModel(
            model.subnetworks, 0, preprocessing=LAYERS.RandomFlip()
        )
    assert FeatureFusionModel(model.subnetworks, 0).branches == 2


def test_it_draws_in_dualnet_s_joint_training():
    model = DualNetModel(pair(), 0, preprocessing=RandomShift())
    compiled(model, keras.optimizers.SGD(0.0), run_eagerly=True)
    losses = {float(model.train_on_batch(*data())[0]) for _ in range(3)}
    assert len(losses) == 3


def test_it_stays_frozen(tmp_path):
    stem = keras.layers.Conv2D(IMAGE[-1], 1)
    model = FeatureFusionModel(pair(), 0, preprocessing=stem)
    compiled(model).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copy = FeatureFusionModel.from_config(model.get_config())
    model.save_weights(tmp_path / "model.weights.h5")
    copy.load_weights(tmp_path / "model.weights.h5")
    for each in (model, loaded, copy):
        count = len(each.trainable_variables)
        each.trainable = False
        each.trainable = True
        assert len(each.trainable_variables) == count
