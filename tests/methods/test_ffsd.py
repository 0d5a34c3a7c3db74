"""FFSD against NumPy in double precision."""

import keras
import numpy as np
import pytest
from support import ranks
from support.builders import (
    CLASSES,
    compiled,
    cross_entropy,
    data,
    kl,
    moved,
    pair,
    separate,
    subnetwork,
)

from keras_ffl import FFSDModel, InputError, preset, training
from keras_ffl.export import stock_head
from keras_ffl.losses import StandardizedKL
from keras_ffl.models import count_parameters

T, RATE = 2.0, 0.05
WEIGHTS = {"diversity_weight": 0.5, "attention_weight": 3.0}


def model_of(students=2, **options):
    """The same weights at every call."""
    keras.utils.set_random_seed(0)
    networks = separate(students + 1)
    return moved(FFSDModel(networks, **{"rampup_epochs": 0, **options}))


def observed(model):
    """A model of the logits and features of all heads."""
    outputs = [dict(model.output), dict(model.feature_maps())]
    return keras.Model(model.input, outputs)


def seen(network, x, training):
    """What an observed model gives, in NumPy."""
    return keras.tree.map_structure(np.asarray, network(x, training=training))


def attention(features):
    flat = (features**2).mean(axis=-1).reshape(len(features), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norms == 0, 1, norms)


def shifted(maps):
    third = np.sort(maps, axis=1)[:, [maps.shape[1] // 3 - 1]]
    return np.where(maps > third, 1 - maps, maps)


def terms_of(y, students, teachers, diversity, leader_attention):
    """All terms by name, (batch,) each.

    `students`, `teachers`: logits and features of all heads on either side.
    """
    (z, f), (t, g) = students, teachers
    subs = [head for head in z if head.startswith("sub_")]
    rows = np.eye(CLASSES)[y]
    terms = {f"ce_{head}": cross_entropy(rows, z[head]) for head in z}
    for head in subs:
        peers = [peer for peer in subs if peer != head]
        terms[f"mutual_{head}"] = np.mean(
            [kl(t[peer], z[head], T) for peer in peers], axis=0
        )
    ensemble = np.mean([t[head] for head in subs], axis=0)
    terms["ekd"] = kl(ensemble, z["fused"], T)
    terms["fkd"] = kl(t["fused"], z["leader"], T)
    for before, head in zip(subs, subs[1:]):
        gap = attention(f[head]) - shifted(attention(g[before]))
        terms[f"diversity_{head}"] = diversity * (gap**2).sum(axis=1)
    gap = attention(f["leader"]) - attention(g["fused"])
    terms["attention"] = leader_attention * (gap**2).sum(axis=1)
    return terms


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("students", [2, 3])
def test_terms_against_numpy(students):
    x, y = data(dtype="float64")
    model = compiled(model_of(students), run_eagerly=True)
    found = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    both = seen(observed(model), x, training=False)
    expected = terms_of(y, both, both, 1e-5, 10.0)
    expected = {name: value.mean() for name, value in expected.items()}
    expected["loss"] = sum(expected.values())
    assert len(expected) == 2 * (students + 2) + students - 1 + 2
    assert found == pytest.approx(
        expected | {"distillation_weight": 1.0}, rel=1e-6
    )
    assert expected["attention"] > 1e-3


@pytest.mark.usefixtures("float64")
def test_a_step_against_finite_differences():
    """Each part learns from its own terms, and all teachers are constants."""
    x, y = data(dtype="float64")
    weights = np.linspace(0.2, 2.0, len(y))
    model = model_of(rampup_epochs=10, **WEIGHTS)
    compiled(model, keras.optimizers.SGD(RATE), run_eagerly=True)
    model.epochs_trained.assign(4)
    rampup = float(np.float32(np.exp(-5 * 0.6**2)))
    network = observed(model)
    base = seen(network, x, training=True)
    fusing = {
        id(v)
        for layer in (model.fusion, model.fused_head)
        for v in layer.trainable_variables
    }

    def reference(variable=None):
        z, f = seen(network, x, training=True)
        if id(variable) not in fusing:
            z["fused"] = base[0]["fused"]
        terms = terms_of(y, (z, f), base, *WEIGHTS.values())
        return sum(
            (rampup if name.startswith(("div", "att")) else 1.0)
            * np.mean(weights * values)
            for name, values in terms.items()
        )

    rng, loss = np.random.default_rng(0), reference()
    expected, directions = [], []
    for variable in model.trainable_variables:
        value = variable.numpy()
        directions.append(rng.normal(size=value.shape))
        slopes = []
        for sign in (1, -1):
            variable.assign(value + sign * 1e-5 * directions[-1])
            slopes.append(sign * reference(variable) / 2e-5)
        variable.assign(value)
        expected.append(sum(slopes))
    before = [v.numpy() for v in model.trainable_variables]
    logs = model.train_on_batch(x, y, weights, return_dict=True)
    for variable, old, direction, slope in zip(
        model.trainable_variables, before, directions, expected, strict=True
    ):
        step = ((old - variable.numpy()) / RATE * direction).sum()
        assert step == pytest.approx(slope, rel=1e-5, abs=1e-8), variable.path
    assert logs["loss"] == pytest.approx(loss, rel=1e-6)
    assert logs["distillation_weight"] == pytest.approx(rampup)


def test_options_and_files(tmp_path):
    model = compiled(
        model_of(
            temperature=3.0,
            rampup_epochs=7,
            distillation=StandardizedKL(),
            **WEIGHTS,
        ),
        run_eagerly=True,
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name in WEIGHTS:
        assert getattr(loaded, name) == WEIGHTS[name]
    assert (loaded.temperature, loaded.rampup_epochs) == (3.0, 7)
    assert isinstance(loaded.distillation, StandardizedKL)
    x, y = data()
    logs = [m.train_on_batch(x, y, return_dict=True) for m in (model, loaded)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-6)
    assert "diversity_sub_2" in logs[0]


def test_without_attention_terms():
    model = model_of(diversity_weight=0, attention_weight=0)
    assert model.distillation_terms(None, {}) == {}
    assert "distillation_weight" not in model.logged_terms
    # Then any features will do.
    mixed = [ranks.network(k, k) for k in ("tokens", "tokens", "vectors")]
    assert FFSDModel(mixed, diversity_weight=0, attention_weight=0)


def test_the_leader_is_a_plain_network():
    """The fused head is rebuilt without anything that stops a gradient."""
    model = FFSDModel.from_copies(
        "resnet8", num_classes=CLASSES, input_shape=(8, 8, 3)
    )
    assert (model.primary_head, model.heads[3]) == ("leader", "leader")
    names = {head: model.classifier(head) for head in ("leader", "sub_1")}
    sizes = {count_parameters(network) for network in names.values()}
    assert len(sizes) == 1
    info = ranks.INFO
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), "uint8")
    x = (images.astype("float32") - np.float32(info.mean)) / info.std
    for head in ("leader", "fused"):
        stock = stock_head(model, head, info)
        expected = keras.ops.softmax(model(x)[head])
        np.testing.assert_allclose(stock(images), expected, atol=1e-5)
        assert "stop" not in stock.to_json().lower()


def test_from_a_configuration():
    settings = preset("quickstart", method="ffsd", branches=3)
    assert settings.options.temperature == 2.0
    assert settings.options.rampup_epochs == 5.0
    settings.check()
    model = training.build_method(settings, 10, (8, 8, 1))
    assert list(model.feature_maps()) == [
        *("fused", "sub_1", "sub_2", "sub_3", "leader")
    ]
    assert model.attention_weight == 10.0
    with pytest.raises(InputError, match="`networks` must name one network"):
        settings.changed(networks=("resnet8", "resnet14")).check()


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        (lambda: pair(), {}, "list of at least 3 models, got 2"),
        (
            lambda: [subnetwork(name=n, strides=1 + (n == "c")) for n in "abc"],
            {},
            r"`attention_weight` must be 0 unless the features of fused and "
            r"leader .*\(4, 4, 3\) and \(2, 2, 3\)",
        ),
        (
            lambda: [subnetwork(name=n, strides=1 + (n == "a")) for n in "abc"],
            {"attention_weight": 0},
            "`diversity_weight` must be 0 unless the features of sub_1 and",
        ),
        (
            lambda: ranks.networks("vectors", "vectors", "vectors"),
            {"diversity_weight": 0},
            r"`attention_weight` must be 0 .*\(4,\) and \(8,\)",
        ),
        (separate, {"temperature": 0}, "`temperature` must be a number > 0"),
        (separate, {"attention_weight": -1}, "`attention_weight` must be a nu"),
        (separate, {"fusion": 3}, "`fusion` must be a Keras layer"),
    ],
)
def test_bad_input(networks, options, message):
    networks = networks(3) if networks is separate else networks()
    with pytest.raises(InputError, match=message):
        FFSDModel(networks, **options)


def test_sub_networks_that_share_weights():
    with pytest.raises(InputError, match="FFSDModel must share no weights"):
        FFSDModel.from_branches("resnet8", 3, num_classes=CLASSES)
