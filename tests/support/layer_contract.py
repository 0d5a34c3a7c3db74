"""What every public layer keeps, as Keras' own `run_layer_test` has it."""

import keras
import numpy as np
from keras import ops

# How far outputs and statistics are from those in float64, of values that
# are about 1.
_TOLERANCES = {
    "float32": 1e-5,
    "mixed_float16": 1e-2,
    "mixed_bfloat16": 5e-2,
    "float64": 0,
}
_BATCH = 5


def check_layer(
    kind,
    folder,
    input_shape,
    output_shape,
    trainable=0,
    non_trainable=0,
    least_float32=False,
    **arguments,
):
    """Checks a layer in a model, under every dtype policy.

    Its configuration holds the arguments; symbolic and eager outputs have the
    same shape and dtype; the weights are of the policy's variable dtype, and
    what is computed is what float64 gives; a file of the model gives it back.

    Args:
        kind: Class of the layer.
        folder: `pathlib.Path` for the files.
        input_shape: Tuple without the batch, or a list of them.
        output_shape: Tuple without the batch.
        trainable: Int, how many trainable weights it has.
        non_trainable: Int, how many others it has.
        least_float32: Whether outputs are float32 where it computes in half
            precision.
        **arguments: The layer's, all of which its configuration has.
    """
    x = keras.tree.map_shape_structure(_images, input_shape)
    exact = _model(kind, "float64", x, arguments)
    weights = unlike_initial(exact)
    expected = _computed(exact, x, weights)
    for policy, tolerance in _TOLERANCES.items():
        model = _model(kind, policy, x, arguments)
        layer = model.get_layer("layer")
        assert arguments.items() <= layer.get_config().items()
        assert len(layer.trainable_weights) == trainable
        assert len(layer.non_trainable_weights) == non_trainable
        wanted = keras.DTypePolicy(policy)
        assert {w.dtype for w in layer.weights} <= {wanted.variable_dtype}

        dtype = wanted.compute_dtype
        if least_float32 and policy.startswith("mixed"):
            dtype = "float32"
        eager = model(x)
        assert model.output.shape == (None, *output_shape)
        assert eager.shape == (_BATCH, *output_shape)
        assert model.output.dtype == dtype
        assert keras.backend.standardize_dtype(eager.dtype) == dtype
        found = _computed(model, x, weights)
        for value, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                value, other, tolerance, tolerance, err_msg=policy
            )

        path = folder / f"{policy}.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
        restored = loaded.get_layer("layer")
        assert type(restored) is kind
        assert restored.get_config() == layer.get_config()
        again = _computed(loaded, x)
        for value, other in zip(again, _computed(model, x), strict=True):
            np.testing.assert_array_equal(value, other, err_msg=policy)


def _images(shape):
    rng = np.random.default_rng(sum(shape))
    return rng.normal(size=(_BATCH, *shape)).astype("float32")


def _model(kind, policy, x, arguments):
    inputs = keras.tree.map_structure(
        lambda each: keras.Input(each.shape[1:]), x
    )
    layer = kind(dtype=policy, name="layer", **arguments)
    return keras.Model(inputs, layer(inputs))


def unlike_initial(model):
    """The weights of a model or layer, with vectors no initializer gives."""
    rng = np.random.default_rng(3)
    return [
        value if value.ndim > 1 else rng.uniform(0.5, 1.5, value.shape)
        for value in model.get_weights()
    ]


def _computed(model, x, weights=None):
    """Outputs in inference and in training, and the weights after both."""
    if weights is not None:
        model.set_weights(weights)
    outputs = [model(x, training=training) for training in (False, True)]
    return [
        *(ops.convert_to_numpy(ops.cast(y, "float64")) for y in outputs),
        *model.get_weights(),
    ]
