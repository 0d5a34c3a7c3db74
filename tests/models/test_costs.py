import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.layers import FusionModule
from keras_ffl.models import (
    build,
    count_multiply_adds,
    count_parameters,
)


def _image(*shape):
    return keras.Input(shape)


def _count(image, *layers):
    x = image
    for layer in layers:
        x = layer(x)
    return count_multiply_adds(keras.Model(image, x))


def test_each_kind_of_layer():
    conv = keras.layers.Conv2D(6, (3, 5), strides=2, padding="same", groups=2)
    assert _count(_image(8, 10, 4), conv) == (4 * 5) * 6 * (3 * 5 * 2)

    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
    assert _count(_image(8, 8, 4), depthwise) == 6 * 6 * 8 * 9

    separable = keras.layers.SeparableConv2D(5, 3, depth_multiplier=2)
    assert _count(_image(8, 8, 4), separable) == 6 * 6 * (8 * 9 + 8 * 5)

    assert _count(_image(7), keras.layers.Dense(3)) == 21
    assert _count(_image(4, 5, 7), keras.layers.Dense(3)) == 4 * 5 * 21
    assert _count(_image(9, 2), keras.layers.Conv1D(3, 3)) == 7 * 3 * 6

    einsum = keras.layers.EinsumDense("abc,cde->abde", (None, 4, 5))
    assert _count(_image(9, 2), einsum) == 9 * 2 * 4 * 5
    einsum = keras.layers.EinsumDense("...c,cd->...d", 7)
    assert _count(_image(3, 9, 2), einsum) == 3 * 9 * 2 * 7
    # Elementwise along d, a sum over c.
    einsum = keras.layers.EinsumDense("acd,cd->ad", (5,))
    assert _count(_image(3, 5), einsum) == 3 * 5

    free = [
        keras.layers.Conv2DTranspose(3, 3),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
    ]
    assert _count(_image(8, 8, 4), *free) == 0


def _attention(query, value, layer):
    query, value = _image(*query), _image(*value)
    outputs = layer(query, value=value)
    model = keras.Model([query, value], outputs)
    return count_multiply_adds(model)


def test_attention():
    layer = keras.layers.MultiHeadAttention(2, 4, value_dim=5)
    projections = 6 * 8 * 2 * 4 + 9 * 3 * 2 * (4 + 5) + 6 * 2 * 5 * 8
    products = 6 * 9 * 2 * (4 + 5)
    assert _attention((6, 8), (9, 3), layer) == projections + products

    layer = keras.layers.GroupQueryAttention(4, 6, 2)
    projections = 6 * 8 * 24 + 2 * (9 * 8 * 8) + 6 * 24 * 8
    products = 6 * 9 * 6 * (4 + 4)
    assert _attention((6, 8), (9, 8), layer) == projections + products


def test_gated_attention():
    # The gate is computed from the query.
    layer = keras.layers.MultiHeadAttention(2, 4, value_dim=5, use_gate=True)
    projections = 6 * 8 * 2 * (4 + 5) + 9 * 3 * 2 * (4 + 5) + 6 * 2 * 5 * 8
    products = 6 * 9 * 2 * (4 + 5)
    assert _attention((6, 8), (9, 3), layer) == projections + products

    layer = keras.layers.GroupQueryAttention(4, 6, 2, use_gate=True)
    projections = 6 * 8 * 24 * 2 + 2 * (9 * 8 * 8) + 6 * 24 * 8
    assert _attention((6, 8), (9, 8), layer) == projections + 6 * 9 * 6 * (
        4 + 4
    )


def test_attention_with_outputs_of_two_axes():
    layer = keras.layers.MultiHeadAttention(2, 4, output_shape=(3, 5))
    projections = 6 * 8 * 8 + 2 * 9 * 3 * 8 + 6 * 8 * 15
    assert _attention((6, 8), (9, 3), layer) == projections + 6 * 9 * 2 * 8


def test_layers_at_every_step():
    dense = keras.layers.TimeDistributed(keras.layers.Dense(3))
    assert _count(_image(5, 8), dense) == 5 * 8 * 3
    convolution = keras.layers.Conv2D(3, 3)
    inner = keras.Sequential([convolution, keras.layers.Flatten()])
    for layer in (convolution, inner):
        layer = keras.layers.TimeDistributed(layer)
        assert _count(_image(5, 8, 8, 2), layer) == 5 * 36 * 3 * 18


def test_attention_along_one_axis():
    layer = keras.layers.MultiHeadAttention(2, 4, attention_axes=(2,))
    x = _image(3, 5, 8)
    found = count_multiply_adds(keras.Model(x, layer(x, x)))
    projections = 4 * 15 * 8 * 2 * 4
    # Each of 15 positions with the 5 of its row.
    assert found == projections + 15 * 5 * 2 * (4 + 4)


def test_a_layer_with_functions_of_the_backend():
    tf = pytest.importorskip("tensorflow")

    class Own(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(4)
            self.blocks = [keras.layers.Conv2D(3, 2), keras.layers.Conv2D(5, 1)]

        def call(self, x):
            for block in (self.first, *self.blocks):
                x = tf.nn.leaky_relu(block(x))
            return x

    layer, x = Own(), _image(6, 6, 2)
    model = keras.Model(x, layer(x))
    expected = 36 * 2 * 4 + 25 * 4 * 4 * 3 + 25 * 3 * 5
    assert count_multiply_adds(model) == expected
    outputs = model(np.ones((1, 6, 6, 2)))
    assert outputs.shape == (1, 5, 5, 5)
    assert "call" not in vars(layer.first)


def test_attention_to_an_unknown_number_of_tokens():
    layer = keras.layers.MultiHeadAttention(2, 4, name="heads")
    with pytest.raises(InputError, match="the value of layer 'heads' is"):
        _attention((6, 8), (None, 8), layer)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        # Adaptation, depthwise and pointwise convolution.
        ([(8, 3), (4, 2)], 4 * 3 * 3 * 3 + 4 * 3 * 5 + 4 * 5 * 2),
        ([(3,), (2,)], 5 + 5 * 2),
        # 16 tokens become 5 by a kernel of 12.
        ([(4, 4, 3), (5, 2)], 5 * 12 * 9 + 5 * 3 * 5 + 5 * 5 * 2),
        ([(4, 4, 3), (16, 2)], 16 * 9 * 5 + 16 * 5 * 2),
    ],
)
def test_fusion_of_any_rank(shapes, expected):
    features = [_image(*shape) for shape in shapes]
    model = keras.Model(features, FusionModule()(features))
    assert count_multiply_adds(model) == expected


def test_channels_first_counts_alike():
    conv = keras.layers.Conv2D(6, 3, data_format="channels_first")
    assert _count(_image(4, 8, 10), conv) == (6 * 8) * 6 * 9 * 4


def test_a_layer_counts_as_often_as_it_is_called():
    image = _image(8, 8, 3)
    conv = keras.layers.Conv2D(3, 3, padding="same")
    once = 64 * 3 * 27
    outputs = conv(conv(image))
    conv(image)
    assert count_multiply_adds(keras.Model(image, outputs)) == 2 * once


def test_nested_models_count_at_the_size_of_their_call():
    inner = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 1),
            keras.layers.Conv2D(3, 1),
        ]
    )
    image = _image(5, 6, 3)
    middle = keras.Model(image, inner(inner(image)))
    outer = keras.Sequential([_image(5, 6, 3), middle, keras.layers.Dense(2)])
    assert count_multiply_adds(outer) == 30 * (2 * (12 + 12) + 6)


def test_counting_leaves_the_model_as_it_is(run):
    inner = build("resnet8", 3, (8, 8, 3))
    image = _image(8, 8, 3)
    model = keras.Model(image, inner(image)["logits"])
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    before = run(model, images)
    config = model.to_json()
    assert count_multiply_adds(model) == count_multiply_adds(inner)
    assert model.to_json() == config
    np.testing.assert_array_equal(run(model, images), before)


def test_parameters_leave_out_what_is_frozen():
    model = keras.Sequential(
        [
            _image(4, 4, 3),
            keras.layers.Conv2D(5, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    assert count_parameters(model) == (135 + 5) + (5 + 5) + (2 * 2 * 5 + 1) * 2
    whole = count_parameters(model)
    model.layers[0].trainable = False
    assert count_parameters(model) == 10 + 42
    model.trainable = False
    assert count_parameters(model) == 0
    # Unless asked for, in models that are loaded frozen as well.
    clone = keras.Sequential.from_config(model.get_config())
    assert not clone.trainable_weights
    for each in (model, clone):
        assert count_parameters(each, frozen=True) == whole


def test_quantized_parameters_count():
    image = _image(6)
    dense = keras.layers.Dense(4)
    model = keras.Model(image, keras.layers.Dense(2)(dense(image)))
    dense.quantize("int8")
    assert count_parameters(model, frozen=True) == (6 * 4 + 4) + (4 * 2 + 2)


def test_parameters_leave_out_what_no_output_needs():
    image = _image(4, 4, 3)
    features = keras.layers.Conv2D(5, 3)(image)
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(features))
    nested = keras.Model(image, {"features": features, "logits": logits})
    outer = _image(4, 4, 3)
    whole = nested(outer)
    convolution, dense = 135 + 5, 20 * 2 + 2
    assert count_parameters(keras.Model(outer, whole)) == convolution + dense
    part = keras.Model(outer, whole["features"])
    assert count_parameters(part) == convolution
    # Called twice, and needed in one of the calls.
    again = nested(keras.layers.ZeroPadding2D(1)(outer)[:, 1:-1, 1:-1])
    both = keras.Model(outer, [whole["features"], again["logits"]])
    assert count_parameters(both) == convolution + dense
    nested.trainable = False
    for model in (part, both):
        assert count_parameters(model) == 0
    assert count_parameters(part, frozen=True) == convolution
    assert count_parameters(both, frozen=True) == convolution + dense


def test_unknown_size():
    with pytest.raises(InputError, match="`model` must have images of known"):
        _count(_image(None, None, 3), keras.layers.Conv2D(4, 1, name="conv"))


def test_model_without_a_graph():
    model = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(InputError, match="functional or a built Sequential"):
        count_multiply_adds(model)
