"""Every bad input is one InputError that names the argument."""

import keras
import numpy as np
import pytest
from support.builders import (
    CLASSES,
    METHODS,
    branches,
    compiled,
    data,
    ffl,
    subnetwork,
    teacher,
)

from keras_ffl import FeatureFusionModel, VanillaModel, as_subnetwork
from keras_ffl.data import Augmentation, Dataset, DatasetInfo
from keras_ffl.errors import InputError
from keras_ffl.export.exportable import check_info
from keras_ffl.methods import KnowledgeDistillationModel, TrainingMethod
from keras_ffl.tasks import MultiLabel


def rejected(message):
    return pytest.raises(InputError, match=message)


def functional(features, logits=None):
    """A model whose outputs come from functions of a small feature map."""
    image = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, padding="same")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    outputs = {
        "features": features(x),
        "logits": logits(x) if logits else keras.layers.Dense(CLASSES)(pooled),
    }
    return keras.Model(image, outputs)


class Subclassed(keras.Model):
    def call(self, inputs):
        return {"features": inputs, "logits": inputs[:, 0, 0]}


@pytest.mark.parametrize("networks", [[], [None]], ids=["none", "one"])
def test_too_few_subnetworks(networks):
    networks = [subnetwork() for _ in networks]
    message = f"`subnetworks` must be a list of at least 2 .* {len(networks)}$"
    with rejected(message):
        ffl(networks)


def test_a_bare_subnetwork():
    with rejected(
        "`subnetworks` must be a list of at least 2 models, got <Fun"
    ):
        ffl(subnetwork())


def test_the_same_subnetwork_twice():
    network = subnetwork()
    with rejected("`subnetworks` must be different models, got one of them tw"):
        ffl([network, subnetwork(name="other"), network])


def test_class_counts():
    with rejected("`subnetworks` must have one output shape, got .3,., .4,."):
        ffl([subnetwork(), subnetwork(classes=4, name="other")])


def test_input_shapes():
    with rejected(r"have one input shape, got \(4, 4, 2\), \(5, 4, 2\)"):
        ffl([subnetwork(), subnetwork(image=(5, 4, 2), name="other")])


def test_floats_for_a_network_that_takes_integers():
    network = subnetwork(name="other")
    image = keras.Input((4, 4, 2), dtype="uint8")
    outputs = keras.Model(network.input, network.output)(image)
    integers = keras.Model(image, outputs)
    with rejected("`subnetworks` must all take floats.* float32, uint8"):
        ffl([subnetwork(), integers])
    source = keras.Model(image, outputs["logits"])
    # In float32, but without fractions.
    as_subnetwork(source, preprocessing=keras.layers.RandomFlip())
    with rejected("`preprocessing` must give whole numbers, since .* uint8"):
        as_subnetwork(source, preprocessing=keras.layers.Rescaling(1 / 255))
    with rejected("`teacher` must take the images of .* float32, .* uint8"):
        KnowledgeDistillationModel(subnetwork(), source)


def test_a_weight_that_the_graph_uses_beside_its_layer():
    """Files would keep its value instead."""
    image = keras.Input((4, 4, 2))
    dense = keras.layers.Dense(2, use_bias=False)
    features = keras.ops.matmul(dense(image), dense.kernel)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    outputs = {
        "features": features,
        "logits": keras.layers.Dense(CLASSES)(pooled),
    }
    with rejected("`network`'s 'matmul' must not use a weight of another"):
        VanillaModel(keras.Model(image, outputs))


def test_a_layer_of_two_networks_with_different_images():
    """No file of them could be loaded."""
    shared = keras.layers.Conv2D(3, 3, name="shared")

    def network(name):
        image = keras.Input((4, 4, 2))
        return subnetwork(trunk=(image, shared(image)), name=name)

    with rejected("`subnetworks`: layer 'shared' is called in two graphs"):
        ffl([network("a"), network("b")])


def test_a_layer_inside_and_outside_of_a_nested_model():
    """What is taken from a nested model instead of from its call."""
    image = keras.Input((4, 4, 2))
    features = keras.layers.Conv2D(3, 3, padding="same", name="conv")(image)
    backbone = keras.Model(image, features)
    x = keras.layers.GlobalAveragePooling2D()(backbone(image))
    logits = keras.layers.Dense(CLASSES)(x)

    def network(features):
        outputs = {"features": features, "logits": logits}
        return keras.Model(image, outputs)

    with rejected("`subnetworks`: layer 'conv' is called in two graphs, of ne"):
        VanillaModel(network(backbone.output))
    with rejected("`subnetworks`: layer 'conv' is called in two graphs, of ne"):
        KnowledgeDistillationModel(network(backbone.output), teacher())


@pytest.mark.parametrize(
    "network",
    [
        Subclassed,
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
        lambda: keras.layers.Dense(3),
        lambda: keras.Model(*[keras.Input((4, 4, 2))] * 2),
        lambda: "resnet8",
        lambda: None,
    ],
    ids=["subclassed", "sequential", "layer", "no dict", "string", "none"],
)
def test_no_subnetwork(network):
    message = "sub-network 2 must be a functional keras.Model with the outputs"
    with rejected(message):
        ffl([subnetwork(), network()])


def test_a_called_subclassed_model():
    model = Subclassed()
    model(keras.Input((4, 4, 3)))
    with rejected("sub-network 1 must be a functional keras.Model"):
        ffl([model, subnetwork()])


def test_other_outputs():
    network = subnetwork()
    more = keras.Model(network.input, {**network.output, "more": network.input})
    with rejected(
        "sub-network 1 must be .* the outputs {'features', 'logits'}"
    ):
        ffl([more, subnetwork(name="other")])


def test_a_model_of_several_inputs():
    network, mask = subnetwork(), keras.Input((1,))
    several = keras.Model([network.input, mask], network.output)
    with rejected("sub-network 1 must take one image tensor, got"):
        ffl([several, subnetwork(name="other")])


def test_feature_map_of_another_rank():
    flat = functional(lambda x: keras.layers.Reshape((2, 2, 4, 3))(x))
    message = (
        r"sub-network 2's 'features' must be \(batch, h, w, C\), \(batch, "
        r"tokens, C\) or \(batch, C\) with known channels, got shape "
        r"\(None, 2, 2, 4, 3\)"
    )
    with rejected(message):
        ffl([subnetwork(), flat])


def test_logits_of_another_rank():
    spatial = functional(lambda x: x, logits=lambda x: x)
    message = r"sub-network 2 must give one logit for each .*None, 4, 4, 3\)"
    with rejected(message):
        ffl([subnetwork(), spatial])


@pytest.mark.parametrize("method", METHODS)
def test_one_class(method):
    message = (
        "(`network`|`subnetworks`: sub-network 1) must give one logit for each "
        r"of at least 2 classes, got logits of shape \(None, 1\)"
    )
    with rejected(message):
        METHODS[method](classes=1)


def test_a_teacher_of_one_class():
    message = r"at least 2 classes, got logits of shape \(None, 1\)"
    with rejected(message):
        KnowledgeDistillationModel(subnetwork(), teacher(classes=1))


def test_a_head_of_one_class():
    class Own(TrainingMethod):
        """A method of somebody else, without sub-networks."""

    image = keras.Input((2,))
    with rejected("head 'own' must give one logit for each of at least 2"):
        Own(image, {"own": keras.layers.Dense(1)(image)})


@pytest.mark.parametrize("fusion", ["average", lambda maps: maps[0], 3])
def test_fusion_that_is_no_layer(fusion):
    with rejected("`fusion` must be a Keras layer over a list of feature maps"):
        ffl(fusion=fusion)


def test_fusion_of_another_rank():
    class Pooled(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.mean(inputs[0] + inputs[1], axis=(1, 2, 3))

    message = r"features from `fusion` must be .*h, w, C.*, got .*\(None,\)"
    with rejected(message):
        ffl(fusion=Pooled())


@pytest.mark.parametrize("value", [-1, "80", None, True, float("inf"), [80]])
def test_rampup_epochs(value):
    with rejected("`rampup_epochs` must be a number >= 0, got "):
        ffl(rampup_epochs=value)


@pytest.mark.parametrize("value", [0, -3.0, "3", None, True])
def test_temperature(value):
    with rejected("`temperature` must be a number > 0, got "):
        ffl(temperature=value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet9"}, "resnet9"),
        ({"branches": 1}, "`branches` must be an int >= 2, got 1"),
        ({"num_classes": 0}, "`num_classes` must be an int >= 1, got 0"),
        ({"input_shape": (8, 8)}, "`input_shape` must be"),
        ({"separate_stages": 4}, "`separate_stages` must be"),
    ],
)
def test_branches_of_a_network(arguments, message):
    good = {
        "name": "resnet8",
        "num_classes": 3,
        "rampup_epochs": 0,
        "input_shape": (8, 8, 3),
    }
    with rejected(message):
        FeatureFusionModel.from_branches(**{**good, **arguments})


@pytest.mark.parametrize(
    "option", ["use_ekd", "use_fkd", "detach_fusion", "ema_teacher"]
)
def test_switches_given_as_text(option):
    with rejected(f"`{option}` must be True or False, got 'false'"):
        ffl(**{option: "false"})


@pytest.mark.parametrize("argument", ["loss", "loss_weights"])
def test_a_loss_of_the_user(argument):
    message = f"`{argument}` must be None for FeatureFusionModel, which has"
    with rejected(message):
        ffl().compile("sgd", **{argument: "mse"})


def test_a_loss_in_its_place():
    with rejected("`loss` must be None for .* got 'mse'"):
        ffl().compile("sgd", "mse")


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_metrics_of_an_unknown_head(argument):
    heads = "fused, sub_1, sub_2, ensemble, got 'sub_3'"
    with rejected(f"`{argument}`: heads are {heads}"):
        ffl().compile("sgd", **{argument: {"sub_3": ["accuracy"]}})


def with_label(y, label):
    y = y.copy()
    y[2] = label
    return y


BAD_LABELS = {
    "too large": (lambda y: with_label(y, CLASSES), "label 3 at index 2"),
    "negative": (lambda y: with_label(y, -1), "label -1 at index 2"),
    "column": (lambda y: with_label(y, 7)[:, None], "label 7 at index 2"),
    "other classes": (lambda y: np.eye(CLASSES + 1)[y], r"shape \(8, 4\)"),
    "no distribution": (lambda y: 2 * np.eye(CLASSES)[y], "sum 1, row 0"),
    "fractions": (lambda y: y + 0.5, "integer labels"),
}


@pytest.mark.parametrize(
    ("change", "message"), BAD_LABELS.values(), ids=BAD_LABELS.keys()
)
@pytest.mark.parametrize("make", ["array", "tensor"])
def test_labels_in_fit(change, message, make):
    model = compiled()
    x, y = data()
    bad = change(y)
    if make == "tensor":
        bad = keras.ops.convert_to_tensor(bad)
    before = model.get_weights()
    with rejected(f"`y`.*{message}"):
        model.fit(x, bad, verbose=0)
    with rejected(f"`validation_data`.*{message}"):
        model.fit(x, y, verbose=0, validation_data=(x, bad))
    with rejected(f"`validation_data`.*{message}"):
        model.fit(x, y, validation_data=(x, bad, np.ones(8)), verbose=0)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_validation_labels_in_their_place():
    x, y = data()
    with rejected("`validation_data`.*label 9 at index 2"):
        compiled().fit(
            x, y, None, 1, 0, None, 0.0, (x, with_label(y, 9), np.ones(8))
        )


@pytest.mark.parametrize("network", [None, "resnet8", [1]])
def test_vanilla_network(network):
    with rejected("`network` must be a functional keras.Model"):
        VanillaModel(network)


@pytest.mark.parametrize(
    ("argument", "layer"),
    [("fusion", keras.layers.Concatenate), ("head", keras.layers.Dense)],
)
def test_a_layer_with_the_name_of_the_head(argument, layer):
    options = {"units": CLASSES} if argument == "head" else {}
    with rejected(f"`{argument}` must have another name than 'fused'"):
        ffl(**{argument: layer(name="fused", **options)})


def test_errors_are_value_errors():
    assert issubclass(InputError, ValueError)


def test_floats_for_networks_of_integers():
    image = keras.Input((4, 4, 2), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    networks = [subnetwork(trunk=(image, x), name=f"net_{k}") for k in range(2)]
    model = compiled(ffl(networks))
    x, y = data()
    message = "^`x` must be integers for networks whose input is uint8, got f"
    info = DatasetInfo("toy", 3, (4, 4, 2), tuple("abc"), (1, 1), (2, 2), False)
    dataset = Dataset(info, *(x.astype("uint8"), y) * 2)
    batches = dataset.training_batches(4, 0, Augmentation(pad=0))
    for given in ((x, y), (batches,)):
        with rejected(message):
            model.fit(*given, verbose=0)
    with rejected(message):
        model.evaluate(x, y, verbose=0)
    model.fit(x.astype("uint8"), y, verbose=0)
    with rejected("`model` must take floats"):
        check_info(model, info)


class Weighted(FeatureFusionModel):
    supervised_weights = {"ce_sub_2": 0.5}


def test_weights_of_terms_that_do_not_exist():
    Weighted(branches(), 0).compile()
    with rejected("^`supervised_weights` of .* bce_sub_2, got .* 'ce_sub_2'"):
        Weighted(branches(), 0, task=MultiLabel()).compile()
