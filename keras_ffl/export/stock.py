"""Heads rebuilt from stock Keras layers, which open without this package."""

import keras
import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.layers import (
    BatchNormalization,
    FeatureAverage,
    FusionModule,
    Gate,
)
from keras_ffl.models.copying import copy_weights
from keras_ffl.models.graph import calls, runs_its_graph


def stock_head(model, head, info, dtype="float32"):
    """A head with its preprocessing, made of Keras' own layers.

    The weights are copies. All layers compute in float32, also where the
    model was trained in half precision. Layers that a user brought into a
    network stay as they are.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        dtype: Dtype of the images, "float32" or "uint8".

    Returns:
        Functional `keras.Model` from images (batch, h, w, channels) in
        0..255, not normalised, to probabilities (batch, classes) float32.

    Raises:
        InputError: There is no such head, or a layer of this package stands
            where it can't be replaced.
    """
    classifier = model.classifier(head)
    image = keras.Input(info.input_shape, dtype=dtype, name="images")
    # Not `Normalization`, whose constants tf2onnx takes for inputs.
    scale = 1.0 / np.asarray(info.std)
    prepared = keras.layers.Rescaling(
        scale.tolist(),
        (-np.asarray(info.mean) * scale).tolist(),
        dtype="float32",
        name="preprocessing",
    )(image)
    logits = Rebuilder().run(classifier, [prepared])[0]
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")
    stock = keras.Model(image, probabilities(logits), name=head)
    if '"keras_ffl' in stock.to_json():
        raise InputError(
            f"`head` {head} can't be rebuilt from Keras' own layers: a layer "
            "of keras_ffl is wrapped in another one"
        )
    return stock


class Rebuilder:
    """Runs graphs anew, with stock layers in place of those of this package.

    Nested models become part of the one graph. A layer that is called several
    times stays one layer.
    """

    def __init__(self):
        self._made = {}

    def run(self, model, inputs, prefix=""):
        """Runs a model's graph on other tensors.

        Args:
            model: Functional or built Sequential `keras.Model`.
            inputs: List of `keras.KerasTensor`s, one for each of its inputs.
            prefix: Start of the names of the layers that are made.

        Returns:
            List of `keras.KerasTensor`s, its outputs.
        """
        new = {id(old): x for old, x in zip(model.inputs, inputs, strict=True)}

        def moved(leaf):
            return new.get(id(leaf), leaf)

        for call in calls(model):
            args, kwargs = keras.tree.map_structure(
                moved, (call.args, call.kwargs)
            )
            name = f"{prefix}{call.layer.name}"
            if runs_its_graph(call.layer):
                tensors = [moved(leaf) for leaf in call.inputs]
                outputs = self.run(call.layer, tensors, f"{name}_")
            else:
                outputs = self._call(call.layer, name, args, kwargs)
            new.update(zip(map(id, call.outputs), keras.tree.flatten(outputs)))
        return [new[id(output)] for output in model.outputs]

    def _call(self, layer, name, args, kwargs):
        replace = _REPLACEMENTS.get(type(layer))
        if replace is not None:
            return replace(self, layer, name, *args)
        # A mask of this layer is that of its tensor.
        if isinstance(layer, keras.Layer):
            kwargs.pop("mask", None)
        return self.layer(layer, name)(*args, **kwargs)

    def layer(self, old, name, kind=None):
        """The new layer in place of one, with its weights once it is called.

        Args:
            old: `keras.Layer` or bare Keras operation.
            name: Name of the new one.
            kind: Its class, by default that of `old`.

        Returns:
            A function like the new layer.
        """
        if id(old) not in self._made:
            config = {**old.get_config(), "name": name}
            if isinstance(old, keras.Layer):
                config["dtype"] = _full_precision(old)
            self._made[id(old)] = (kind or type(old)).from_config(config)
        new = self._made[id(old)]

        def run(*args, **kwargs):
            outputs = new(*args, **kwargs)
            if isinstance(old, keras.Layer):
                copy_weights(old, new)
            return outputs

        return run


def _full_precision(layer):
    """The dtype policy of a layer, float32 in place of half precision."""
    half = layer.compute_dtype in ("float16", "bfloat16")
    return "float32" if half else layer.dtype_policy


# ----- this package's layers in Keras' own ----------------------------------


def _batch_normalization(rebuilder, old, name, x):
    kind = keras.layers.BatchNormalization
    return rebuilder.layer(old, name, kind)(x)


def _fusion_module(rebuilder, old, name, maps):
    dtype = _full_precision(old)

    def block(x, convolution, normalization):
        start = f"{name}_{convolution.name}"
        x = rebuilder.layer(convolution, start)(x)
        x = _batch_normalization(rebuilder, normalization, f"{start}_bn", x)
        return keras.layers.ReLU(dtype=dtype, name=f"{start}_relu")(x)

    maps = [
        block(x, *adaptation) if adaptation else x
        for x, adaptation in zip(maps, old.adaptations)
    ]
    x = keras.layers.Concatenate(dtype=dtype, name=f"{name}_concatenate")(maps)
    x = block(x, old.depthwise, old.depthwise_bn)
    return block(x, old.pointwise, old.pointwise_bn)


def _feature_average(rebuilder, old, name, maps):
    return keras.layers.Average(dtype=_full_precision(old), name=name)(maps)


def _gate(rebuilder, old, name, x):
    dtype = _full_precision(old)
    x = keras.layers.GlobalAveragePooling2D(
        dtype=dtype, name=f"{name}_pooling"
    )(x)
    x = rebuilder.layer(old.dense, f"{name}_dense")(x)
    x = _batch_normalization(
        rebuilder, old.normalization, f"{name}_normalization", x
    )
    x = keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)
    return keras.layers.Softmax(dtype=dtype, name=name)(x)


_REPLACEMENTS = {
    BatchNormalization: _batch_normalization,
    FeatureAverage: _feature_average,
    FusionModule: _fusion_module,
    Gate: _gate,
}
