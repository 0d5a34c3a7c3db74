"""Feature maps whose sizes are unknown until they are computed."""

import keras
import numpy as np
import pytest

from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage, FeatureSum, FusionModule

KINDS = (FeatureAverage, FeatureSum, FusionModule)
SHAPES = [(2, 8, 8, 3), (2, 1, 1, 3)]


def maps(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def for_any_size(kind):
    layer = kind()
    layer.build([(None, None, None, 3)] * 2)
    return layer


def message(kind):
    return (
        f"{kind.__name__}: networks for images of any size must give feature "
        "maps of one height and width"
    )


@pytest.mark.parametrize("other", [(2, 1, 1, 3), (2, 8, 1, 3), (2, 4, 4, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_differ(kind, other):
    layer = for_any_size(kind)
    with pytest.raises(
        InputError, match=rf"{message(kind)}, got \(8, 8\), \({other[1]}, "
    ):
        layer(maps((2, 8, 8, 3), other))
    assert layer(maps((2, 8, 8, 3), (2, 8, 8, 3))).shape == (2, 8, 8, 3)


def test_other_sizes_than_the_layer_was_built_for():
    layer = FusionModule()
    layer.build([(None, 8, 8, 3), (None, 4, 4, 3)])
    with pytest.raises(InputError, match=message(FusionModule)):
        layer(maps((2, 16, 16, 3), (2, 4, 4, 3)))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_tensorflow_does_not_know(kind, jit_compile):
    tf = pytest.importorskip("tensorflow")
    layer = for_any_size(kind)
    spec = tf.TensorSpec((None, None, None, 3))
    step = tf.function(
        lambda *maps: layer(list(maps)),
        input_signature=[spec, spec],
        jit_compile=jit_compile,
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        step(*maps(*SHAPES))
    # XLA drops the check, and doesn't compile.
    assert jit_compile or message(kind) in str(error.value)
    good = maps((2, 4, 6, 3), (2, 4, 6, 3))
    np.testing.assert_allclose(step(*good), layer(good), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_known_sizes_add_nothing_to_a_step(kind):
    tf = pytest.importorskip("tensorflow")
    layer = for_any_size(kind)
    step = tf.function(lambda *maps: layer(list(maps)))
    spec = tf.TensorSpec((None, 8, 8, 3))
    graph = step.get_concrete_function(spec, spec).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not kinds & {"Assert", "Shape", "Reshape"}


@pytest.mark.parametrize("kind", KINDS)
def test_symbolic_maps(kind):
    layer = for_any_size(kind)
    tensors = [keras.KerasTensor((None, None, None, 3))] * 2
    assert layer.call(tensors).shape == (None, None, None, 3)
