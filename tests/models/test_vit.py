import math

import keras
import numpy as np
import pytest
from support import trained_outputs
from support.processes import run_on_jax

from keras_ffl import InputError, VanillaModel
from keras_ffl.models import (
    build,
    build_branches,
    count_multiply_adds,
    count_parameters,
    vit,
)

SMALL = {"depth": 3, "width": 12, "heads": 3, "mlp_ratio": 2}


def images(count=2, shape=(8, 12, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape))


def moved(model):
    """The model with weights that are not the initial ones."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 0.2, weight.shape))
    return model


# ----- the same network in NumPy ------------------------------------------


def weights_of(model):
    return {
        weight.path: keras.ops.convert_to_numpy(weight)
        for weight in model.weights
    }


def normalised(x, weights, name):
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
    return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def dense(x, weights, name):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def attended(x, weights, name):
    """One head and one image at a time."""
    parts = {
        key: (weights[f"{name}/{key}/kernel"], weights[f"{name}/{key}/bias"])
        for key in ("query", "key", "value", "attention_output")
    }
    outputs = np.zeros_like(x) + parts["attention_output"][1]
    for image, tokens in enumerate(x):
        for head in range(parts["query"][0].shape[1]):
            query, key, value = [
                tokens @ parts[part][0][:, head] + parts[part][1][head]
                for part in ("query", "key", "value")
            ]
            scores = np.exp(query @ key.T / math.sqrt(query.shape[-1]))
            scores /= scores.sum(axis=-1, keepdims=True)
            kernel = parts["attention_output"][0][head]
            outputs[image] += scores @ value @ kernel
    return outputs


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def in_numpy(weights, x, patch, blocks):
    rows, columns = x.shape[1] // patch, x.shape[2] // patch
    tokens = [
        x[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
        for i in range(rows)
        for j in range(columns)
    ]
    x = np.stack([token.reshape(len(x), -1) for token in tokens], axis=1)
    x = dense(x, weights, "stem_embedding")
    for block in blocks:
        y = normalised(x, weights, f"{block}_norm1")
        x = x + attended(y, weights, f"{block}_attention")
        y = normalised(x, weights, f"{block}_norm2")
        y = gelu(dense(y, weights, f"{block}_dense1"))
        x = x + dense(y, weights, f"{block}_dense2")
    x = normalised(x, weights, "final_norm")
    return x, dense(x.mean(axis=1), weights, "classifier")


@pytest.mark.parametrize("depth, blocks", [(3, (1, 1, 1)), (5, (2, 2, 1))])
def test_is_the_network_in_numpy(depth, blocks, run):
    keras.config.set_dtype_policy("float64")
    model = moved(vit(5, (8, 12, 3), **{**SMALL, "depth": depth}))
    features, logits = in_numpy(
        weights_of(model),
        images(),
        4,
        [
            f"stage{stage}_block{block}"
            for stage, count in enumerate(blocks, start=1)
            for block in range(1, count + 1)
        ],
    )
    outputs = run(model, images())
    # Keras rounds the constants of GELU and attention to float32.
    np.testing.assert_allclose(outputs["features"], features, atol=1e-7)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-7)


# ----- its size -----------------------------------------------------------


def counted(depth, width, ratio, classes=10, patch=4, tokens=64):
    """Parameters and multiply-adds by hand."""
    values = patch**2 * 3
    attention = 4 * width**2
    mlp = 2 * ratio * width**2
    biases = 4 * width + (ratio + 1) * width + 2 * 2 * width
    parameters = (
        values * width
        + tokens * width
        + depth * (attention + mlp + biases)
        + 2 * width
        + width * classes
        + classes
    )
    products = (
        tokens * values * width
        + depth * (tokens * (attention + mlp) + 2 * tokens**2 * width)
        + width * classes
    )
    return parameters, products


@pytest.mark.parametrize(
    "name, sizes, millions",
    [
        # ViT-Lite-6/4 of the paper has 3.19 M.
        ("vit_lite_6", (6, 256, 2), 3.19),
        ("vit_lite_4", (4, 128, 1), 0.41),
        ("vit_tiny", (12, 192, 4), 5.36),
    ],
)
def test_size(name, sizes, millions):
    model = build(name, 10)
    assert model.name == name
    assert model.output["features"].shape == (None, 64, sizes[1])
    found = count_parameters(model), count_multiply_adds(model)
    assert found == counted(*sizes)
    assert round(found[0] / 1e6, 2) == millions


@pytest.mark.parametrize("separate", [1, 2, 3])
def test_branches(separate, run):
    models = build_branches("vit_lite_4", 2, 5, (8, 8, 3), separate)
    both = keras.Model(models[0].input, [model.output for model in models])
    shared = {layer.name for layer in models[0].layers} & {
        layer.name for layer in models[1].layers
    }
    assert "stem_embedding" in shared
    for stage in (1, 2, 3):
        name = f"stage{stage}_block1_attention"
        assert (name in shared) == (stage <= 3 - separate)
        names = [layer.name for layer in both.layers]
        assert (f"branch1_{name}" in names) == (stage > 3 - separate)
    # Each branch is the whole network.
    alone = build("vit_lite_4", 5, (8, 8, 3))
    moved(models[1])
    alone.set_weights(models[1].get_weights())
    x = images(shape=(8, 8, 3))
    outputs, expected = run(models[1], x), run(alone, x)
    for key in ("features", "logits"):
        np.testing.assert_allclose(outputs[key], expected[key], rtol=1e-5)


# ----- as any other network -----------------------------------------------


def test_saves_and_loads(tmp_path, run):
    model = moved(vit(3, (8, 12, 3), **SMALL, name="mine"))
    assert model.name == "mine"
    expected = run(model, images())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    outputs = run(loaded, images())
    for key in ("features", "logits"):
        np.testing.assert_array_equal(outputs[key], expected[key])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(policy, run):
    keras.config.set_dtype_policy(policy)
    model = vit(3, (8, 12, 3), **SMALL)
    assert model.output["features"].dtype == policy.removeprefix("mixed_")
    assert model.output["logits"].dtype == "float32"
    weights = model.get_weights()
    keras.config.set_dtype_policy("float32")
    exact = vit(3, (8, 12, 3), **SMALL)
    exact.set_weights(weights)
    np.testing.assert_allclose(
        run(model, images())["logits"],
        run(exact, images())["logits"],
        atol=0.05,
    )


def test_channels_first_settings(run):
    """They don't matter: images are channels-last."""
    before = keras.config.image_data_format()
    expected = moved(vit(3, (8, 12, 3), **SMALL))
    keras.config.set_image_data_format("channels_first")
    try:
        model = vit(3, (8, 12, 3), **SMALL)
    finally:
        keras.config.set_image_data_format(before)
    model.set_weights(expected.get_weights())
    np.testing.assert_array_equal(
        run(model, images())["logits"], run(expected, images())["logits"]
    )


@pytest.mark.slow
@pytest.mark.jax
def test_trains_on_jax_as_on_tensorflow(tmp_path):
    model = VanillaModel(moved(vit(3, (8, 12, 3), **SMALL)))
    model.compile(keras.optimizers.SGD(0.1))
    batch = {
        "images": images(6).astype("float32"),
        "labels": np.arange(6) % 3,
    }
    np.savez(tmp_path / "batch.npz", **batch)
    model.save(tmp_path / "model.keras")
    before = model(batch["images"], training=False)["vanilla"]
    ours = trained_outputs.after_one_step(model, **batch)
    run_on_jax("support.trained_outputs", tmp_path, check=True)
    with np.load(tmp_path / "outputs.npz") as theirs:
        np.testing.assert_allclose(
            theirs["vanilla"], ours["vanilla"], rtol=1e-4, atol=1e-5
        )
    assert np.abs(ours["vanilla"] - before).max() > 1e-2


# ----- bad input ----------------------------------------------------------


@pytest.mark.parametrize("shape", [(10, 8, 3), (8, 30, 3), (3, 3, 1)])
def test_image_that_patches_do_not_fill(shape):
    message = (
        "`input_shape` must have a height and width that are multiples of the "
        "patch size 4, got "
    )
    with pytest.raises(InputError, match=message):
        build("vit_tiny", 10, shape)
    assert vit(3, (3, 6, 1), patch_size=3, **SMALL).output[
        "features"
    ].shape == (None, 2, 12)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depth": 2}, "`depth` must be an int >= 3, got 2"),
        ({"width": 0}, "`width` must be an int >= 1, got 0"),
        ({"heads": 1.0}, "`heads` must be an int >= 1, got 1.0"),
        ({"heads": 5}, "`width` must be a multiple of `heads`=5, got 12"),
        ({"mlp_ratio": None}, "`mlp_ratio` must be an int >= 1, got None"),
        ({"patch_size": True}, "`patch_size` must be an int >= 1, got True"),
        ({"num_classes": 0}, "`num_classes` must be an int >= 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        vit(**{"num_classes": 3, **SMALL, **arguments})
