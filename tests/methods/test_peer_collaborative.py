"""PCL: loss, updates and mean teachers against NumPy in float64."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    assert_close,
    branches,
    compiled,
    cross_entropy,
    data,
    ffl,
    kl,
    moved,
    subnetwork,
)

from keras_ffl.errors import InputError
from keras_ffl.layers import BatchNormalization
from keras_ffl.methods import PeerCollaborativeModel
from keras_ffl.models import build_branches

IMAGE = (2, 2, 2)
PEERS = 3
RATE = 0.3
TEMPERATURE = 2.0


@pytest.fixture
def double():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def peer_model():
    """Peers of dense layers on the pixels, which NumPy can follow."""
    keras.utils.set_random_seed(2)
    image = keras.Input(IMAGE)
    trunk = keras.layers.Dense(3, name="trunk")(image)
    networks = []
    for k in range(1, PEERS + 1):
        x = keras.layers.Dense(3, name=f"inner_{k}")(trunk)
        x = BatchNormalization(name=f"bn_{k}")(x)
        features = keras.layers.Activation("tanh")(x)
        pooled = keras.layers.GlobalAveragePooling2D()(features)
        logits = keras.layers.Dense(CLASSES, name=f"outer_{k}")(pooled)
        outputs = {"features": features, "logits": logits}
        networks.append(keras.Model(image, outputs))
    return moved(PeerCollaborativeModel(networks, 2, TEMPERATURE))


def arrays(model, names):
    """The weights of layers, by name and number."""
    return {
        f"{name}/{i}": value.astype("float64")
        for name in names
        for i, value in enumerate(model.get_layer(name).get_weights())
    }


def names_of(k):
    return "trunk", f"inner_{k}", f"bn_{k}", f"outer_{k}"


def peer(w, k, x, statistics=None):
    """Pooled features, logits and the batch's statistics of network k."""
    x = x @ w["trunk/0"] + w["trunk/1"]
    x = x @ w[f"inner_{k}/0"] + w[f"inner_{k}/1"]
    found = x.mean((0, 1, 2)), x.var((0, 1, 2))
    mean, variance = found if statistics is None else statistics
    x = (x - mean) / np.sqrt(variance + 1e-5)
    x = np.tanh(x * w[f"bn_{k}/0"] + w[f"bn_{k}/1"]).mean((1, 2))
    return x, x @ w[f"outer_{k}/0"] + w[f"outer_{k}/1"], found


def logits_of(w, views, averaged=False):
    """Logits of the peers and of their ensemble."""
    found = [
        peer(w, k, x, (w[f"bn_{k}/2"], w[f"bn_{k}/3"]) if averaged else None)
        for k, x in enumerate(views, start=1)
    ]
    pooled = np.concatenate([each[0] for each in found], axis=1)
    fused = pooled @ w["fused_classifier/0"] + w["fused_classifier/1"]
    return {
        "fused": fused,
        **{f"sub_{k}": each[1] for k, each in enumerate(found, start=1)},
    }


def teacher_logits(averages, views):
    return {
        f"teacher_{k}": peer(w, k, x, (w[f"bn_{k}/2"], w[f"bn_{k}/3"]))[1]
        for k, (w, x) in enumerate(zip(averages, views, strict=True), start=1)
    }


def terms(y, logits, teachers):
    """Every term's mean; what teaches comes from `teachers`."""
    rows, peers = np.eye(CLASSES)[y], range(1, PEERS + 1)
    found = {f"ce_{h}": cross_entropy(rows, z) for h, z in logits.items()}
    found["pe"] = sum(
        kl(teachers["fused"], logits[f"sub_{k}"], TEMPERATURE) for k in peers
    )
    found["pm"] = sum(
        kl(teachers[f"teacher_{j}"], logits[f"sub_{k}"], TEMPERATURE)
        for k in peers
        for j in peers
        if j != k
    ) / (PEERS - 1)
    return {name: values.mean() for name, values in found.items()}


def total(found, weight):
    return sum(
        value * (weight if name in ("pe", "pm") else 1)
        for name, value in found.items()
    )


def step(w, averages, x, y, weight):
    """The weights and terms after a step; gradients by differences."""
    views = [x[:, k] for k in range(PEERS)]
    logits = logits_of(w, views)
    teachers = logits | teacher_logits(averages, views)
    new = {}
    for name, value in w.items():
        gradient = np.zeros_like(value)
        statistic = name.startswith("bn") and name[-1] in "23"
        for i in () if statistic else np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                other = value.copy()
                other[i] += sign * 1e-5
                found = terms(y, logits_of({**w, name: other}, views), teachers)
                sides.append(total(found, weight))
            gradient[i] = (sides[0] - sides[1]) / 2e-5
        new[name] = value - RATE * gradient
    count = x[:, 0, ..., 0].size
    for k, view in enumerate(views, start=1):
        mean, variance = peer(w, k, view)[2]
        unbiased = variance * count / (count - 1)
        new[f"bn_{k}/2"] = 0.9 * w[f"bn_{k}/2"] + 0.1 * mean
        new[f"bn_{k}/3"] = 0.9 * w[f"bn_{k}/3"] + 0.1 * unbiased
    return new, terms(y, logits, teachers)


def test_training_on_views_is_that_of_numpy(double, tmp_path):
    model = compiled(
        peer_model(), optimizer=keras.optimizers.SGD(RATE), run_eagerly=True
    )
    x, y = data(6, image=(PEERS, *IMAGE), dtype="float64")
    names = [name for k in range(1, PEERS + 1) for name in names_of(k)]
    w = arrays(model, ["fused_classifier", *dict.fromkeys(names)])
    # `moved` has given the teachers weights of their own.
    averages = [
        arrays(model.get_layer(f"mean_teacher_{k}"), names_of(k))
        for k in range(1, PEERS + 1)
    ]
    path = tmp_path / "model.keras"
    for epoch, weight in enumerate((np.exp(-5), np.exp(-1.25), 1.0)):
        w, expected = step(w, averages, x, y, weight)
        kept = min(1 - 1 / (epoch + 2), 0.999)
        averages = [
            {n: kept * a + (1 - kept) * w[n] for n, a in each.items()}
            for each in averages
        ]
        history = model.fit(
            x, y, batch_size=6, epochs=epoch + 1, initial_epoch=epoch, verbose=0
        ).history
        expected |= {"loss": total(expected, weight)}
        expected["distillation_weight"] = weight
        logged = {name: history[name][0] for name in expected}
        assert logged == pytest.approx(expected, rel=1e-6)
        if epoch == 0:
            # A file keeps the averages and the count of updates.
            model.save(path)
            model = keras.saving.load_model(path)
            model.run_eagerly = True
    assert_close(
        arrays(model, ["fused_classifier", *names]).values(),
        {n: w[n] for n in arrays(model, ["fused_classifier", *names])}.values(),
        1e-7,
    )
    for k, each in enumerate(averages, start=1):
        teacher = model.get_layer(f"mean_teacher_{k}")
        assert_close(arrays(teacher, names_of(k)).values(), each.values(), 1e-7)
    # In evaluation all see the same image.
    single = [x[:, 0]] * PEERS
    logits = logits_of(w, single, averaged=True)
    outputs = logits | teacher_logits(averages, single)
    for head, found in model(x[:, 0]).items():
        assert_close([found], [outputs[head]], 1e-6)
    expected = terms(y, logits, outputs)
    expected["loss"] = sum(expected.values())
    found = model.evaluate(x[:, 0], y, verbose=0, return_dict=True)
    assert {n: found[n] for n in expected} == pytest.approx(expected, rel=1e-6)


# ----- mean teachers ------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return compiled(
        PeerCollaborativeModel(branches(), 0), keras.optimizers.SGD(0.5)
    )


def test_a_teacher_begins_as_a_copy_and_is_never_trained(model):
    heads = "fused", "sub_1", "sub_2", "teacher_1", "teacher_2", "ensemble"
    assert (model.heads, model.primary_head) == (heads, "teacher_1")
    x, _ = data()
    fresh = PeerCollaborativeModel(branches(), 0)
    outputs = fresh(x)
    for k in (1, 2):
        assert_close([outputs[f"teacher_{k}"]], [outputs[f"sub_{k}"]], 0)
    fresh.trainable = True
    assert not fresh.get_layer("mean_teacher_1").trainable_variables
    subs = keras.Model(fresh.input, [fresh.output[h] for h in heads[:3]])
    assert len(fresh.trainable_variables) == len(subs.trainable_variables)


def test_the_average_forgets(model):
    x, y = data()
    model.teacher_updates.assign(5000)
    teacher = model.get_layer("mean_teacher_2")
    network = model.subnetworks[1]
    before = [w.numpy().astype("float64") for w in teacher.weights]
    model.train_on_batch(x, y)
    assert int(model.teacher_updates) == 5001
    after = [w.numpy().astype("float64") for w in network.weights]
    expected = [0.999 * a + 0.001 * w for a, w in zip(before, after)]
    assert_close(teacher.weights, expected, 1e-7)
    assert max(np.abs(a - b).max() for a, b in zip(before, after)) > 0.1


def test_frozen_networks_keep_their_bits():
    networks = build_branches("resnet8", 2, 3, (8, 8, 3))
    for network in networks:
        network.trainable = False
    model = compiled(PeerCollaborativeModel(networks, 0), run_eagerly=True)
    x, y = data(4, image=(8, 8, 3))
    for _ in range(2):
        model.train_on_batch(x, y)
    for k, network in enumerate(networks, start=1):
        teacher = model.get_layer(f"mean_teacher_{k}")
        assert_close(teacher.weights, network.weights, 0)


# ----- views --------------------------------------------------------------


def test_every_network_sees_its_view(model):
    x, y = data(4, image=(2, *model.input_shape[1:]))
    outputs = model.pass_of_step(x).outputs
    assert list(outputs) == list(model.trained_heads)
    for k in (1, 2):
        teacher = model.classifier(f"teacher_{k}")(x[:, k - 1])
        assert_close([outputs[f"teacher_{k}"]], [teacher], 1e-6)
        sub = model.subnetworks[k - 1](x[:, k - 1], training=True)["logits"]
        assert_close([outputs[f"sub_{k}"]], [sub], 1e-6)


def test_equal_views_are_one_image():
    x, y = data(4)
    results = []
    for images in (x, np.stack([x, x], axis=1)):
        keras.utils.set_random_seed(1)
        model = compiled(moved(ffl(ema_teacher=True)), run_eagerly=True)
        logs = model.train_on_batch(images, y, return_dict=True)
        results.append([*logs.values(), *model.weights])
    assert_close(*results)


def test_single_images_may_follow_views(model):
    x, y = data(4)
    for images in (np.stack([x, x + 1], axis=1), x):
        history = model.fit(images, y, verbose=0).history
        assert np.isfinite(history["loss"][0])


def test_names_that_keras_makes_up_change_no_bit():
    # TensorFlow adds in the order of names.
    networks = build_branches("resnet8", 3, 3, (8, 8, 3))
    model = compiled(PeerCollaborativeModel(networks, 0))
    x, y = data(16, image=(3, 8, 8, 3))
    first, results = model.get_weights(), []
    for number in (97_998, 99_998):
        while keras.backend.get_uid("functional") < number:
            pass
        model.set_weights(first)
        model.make_train_function(force=True)
        model.train_on_batch(x, y)
        results.append(model.get_weights())
    assert_close(*results, 0)


@pytest.mark.parametrize("ema_teacher", [False, True])
def test_the_activities_of_every_view_are_regularised(ema_teacher):
    image = keras.Input((4, 4, 2))
    trunk = keras.layers.ActivityRegularization(l2=0.1)(image)
    networks = [subnetwork(trunk=(image, trunk), name=k) for k in "ab"]
    model = compiled(ffl(networks, ema_teacher=ema_teacher))
    x, y = data(4, image=(2, 4, 4, 2))
    logs = model.train_on_batch(x, y, return_dict=True)
    terms = sum(logs[name] for name in model.loss_terms)
    # Keras takes the mean over the batch.
    expected = 0.1 * np.square(x.astype("float64")).sum() / len(x)
    assert logs["loss"] - terms == pytest.approx(expected, rel=1e-5)


def test_features_of_several_views_are_told_apart():
    image = keras.Input((4, 4, 2))
    features = keras.layers.Conv2D(3, 3)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    networks = [
        keras.Model(
            image,
            {
                "features": features,
                "logits": keras.layers.Dense(CLASSES, name=f"z_{k}")(pooled),
            },
        )
        for k in (1, 2)
    ]
    model = compiled(PeerCollaborativeModel(networks, 0))
    x, y = data(4)
    model.train_on_batch(x, y)
    with pytest.raises(InputError, match="`x` can't hold views: sub-netw"):
        model.train_on_batch(np.stack([x, x], axis=1), y)


@pytest.mark.parametrize("way", ["fit", "evaluate", "validation"])
def test_wrong_views(model, way):
    x, y = data(4)
    views = np.stack([x] * (3 if way == "fit" else 2), axis=1)
    calls = {
        "fit": lambda: model.fit(views, y, verbose=0),
        "evaluate": lambda: model.evaluate(views, y, verbose=0),
        "validation": lambda: model.fit(x, y, validation_data=(views, y)),
    }
    message = r"`x` must be images \(batch, 4, 4, 2\)"
    if way == "fit":
        message += r" or 2 views .*\(batch, 2, 4, 4, 2\), got .*\(4, 3, 4"
    with pytest.raises(InputError, match=message):
        calls[way]()


def test_views_are_not_split_for_validation(model):
    x, y = data(4, image=(2, *model.input_shape[1:]))
    with pytest.raises(InputError, match="`validation_split` must be 0 for"):
        model.fit(x, y, validation_split=0.5)


# ----- FFL's option -------------------------------------------------------


def test_mean_teachers_in_ffl():
    model = moved(ffl(ema_teacher=True))
    assert model.teacher_heads == ("teacher_1", "teacher_2")
    x, _ = data()
    z = {head: values.numpy() for head, values in model(x).items()}
    found = model.distillation_terms(None, model(x))
    ensemble = (z["teacher_1"] + z["teacher_2"]) / 2
    assert_close([found["ekd"]], [kl(ensemble, z["fused"], 3.0)], 1e-5)
    fkd = sum(kl(z["fused"], z[head], 3.0) for head in ("sub_1", "sub_2"))
    assert_close([found["fkd"]], [fkd], 1e-5)
    copy = type(model).from_config(model.get_config())
    assert copy.heads == model.heads
    plain = ffl()
    assert plain.heads == ("fused", "sub_1", "sub_2", "ensemble")
    assert "ema_teacher" not in plain.get_config()


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_weights_whose_averages_would_stop(policy):
    keras.config.set_dtype_policy(policy)
    with pytest.raises(InputError, match=f"must be float32 .* in {policy}, in"):
        ffl(ema_teacher=True)
