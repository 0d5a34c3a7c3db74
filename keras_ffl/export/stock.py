"""Rebuilds heads from stock Keras layers, which load without this package."""

import keras
import numpy as np
from absl import logging
from keras import ops

from keras_ffl.errors import InputError, first_line
from keras_ffl.export.exportable import check_info
from keras_ffl.export.folding import fold_batch_normalization
from keras_ffl.layers import (
    BatchNormalization,
    FeatureAverage,
    FeatureSum,
    FusionModule,
    Gate,
)
from keras_ffl.models.components import global_average
from keras_ffl.models.flattening import Rebuilder, full_precision
from keras_ffl.models.graph import unrolled


def stock_head(model, head, info, dtype="float32"):
    """Rebuilds a head and its preprocessing from Keras' own layers.

    The weights are copies. All layers compute in float32, even if the model
    was trained in half precision or float64. Users' own layers in a network
    stay unchanged.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        dtype: Dtype of the images, "float32" or "uint8".

    Returns:
        Functional `keras.Model` from unnormalised images (batch, h, w,
        channels) in 0..255 to float32 probabilities (batch, classes), or to
        the main output of the model's task. It takes images of any size where
        `info.input_shape` has None.

    Raises:
        InputError: There is no such head, `info` doesn't fit the model's
            data, or a layer of this package can't be replaced.
    """
    classifier = model.classifier(head)
    check_info(model, info)
    image = sized = keras.Input(info.input_shape, dtype=dtype, name="images")
    if None not in info.input_shape:
        # Keras' `predict` stops checking sizes after its first batch, and
        # operations broadcast.
        sized = keras.layers.Reshape(
            info.input_shape, dtype="float32", name="size"
        )(image)
    # On the last of three axes: with channels-first settings in
    # `keras.config.image_data_format()` a vector would go on the first.
    scale = 1.0 / np.reshape(info.std, (1, 1, -1))
    shift = -np.asarray(info.mean) * scale
    prepared = _rescaled(sized, scale, shift, "float32", "preprocessing")
    task = model.task
    names = "images", "size", "preprocessing", task.output_name
    logits = _rebuilt(classifier, prepared, names)
    if not type(task).prediction.__module__.startswith("keras_ffl."):
        # A user's own, and only its main output.
        logits = task.prediction(logits)[task.output_name]
        output = keras.layers.Identity(dtype="float32", name=task.output_name)
    elif task.activation == "softmax":
        output = keras.layers.Softmax(dtype="float32", name=task.output_name)
    else:
        output = keras.layers.Activation(
            task.activation, dtype="float32", name=task.output_name
        )
    stock = keras.Model(image, output(logits), name=head)
    if '"keras_ffl' in stock.to_json():
        raise InputError(
            f"`head` {head} can't be rebuilt from Keras' own layers: a layer "
            "of keras_ffl is wrapped in another one"
        )
    return stock


def inference_classifier(classifier):
    """Folds a classifier's batch normalisation into its convolutions.

    Args:
        classifier: Functional `keras.Model` from an image to logits, such as
            `keras_ffl.methods.TrainingMethod.classifier` returns.

    Returns:
        Functional `keras.Model` with weights of its own that computes the same
        in inference. Returns the classifier itself if any of its layers
        computes in another precision than float32, where rounding would
        differ, or (with a warning) can't be recreated from its configuration.
    """
    if other_precision(classifier):
        return classifier
    image = keras.Input(
        classifier.input_shape[1:], dtype=classifier.input.dtype, name="image"
    )
    try:
        rebuilt = keras.Model(image, _rebuilt(classifier, image))
    # Keras raises these for users' layers without a suitable configuration.
    except (NotImplementedError, TypeError, ValueError) as error:
        logging.warning(
            "%s: batch norm is not folded because a layer can't be copied: %s",
            classifier.name,
            first_line(error),
        )
        return classifier
    return fold_batch_normalization(rebuilt)


def other_precision(classifier):
    """Looks for layers that compute in other floats than float32.

    Args:
        classifier: Functional `keras.Model`.

    Returns:
        Str, the least precise dtype of such a layer, "bfloat16", "float16" or
        "float64", or None without such layers.
    """
    found = {
        call.layer.compute_dtype
        for call in unrolled(classifier)[0]
        if isinstance(call.layer, keras.Layer)
    }
    for dtype in ("bfloat16", "float16", "float64"):
        if dtype in found:
            return dtype
    return None


def _rebuilt(classifier, image, names=()):
    """The logits of a classifier rebuilt from Keras' own layers."""
    return Rebuilder(_REPLACEMENTS, names).run(classifier, [image])[0]


def _rescaled(x, scale, shift, dtype, name):
    scale, shift = np.asarray(scale).tolist(), np.asarray(shift).tolist()
    return keras.layers.Rescaling(scale, shift, dtype=dtype, name=name)(x)


# ----- layers as others ------------------------------------------------------


def _normalization(rebuilder, old, name, x):
    """As `Rescaling`, because tf2onnx turns these constants into inputs."""
    mean, variance = (
        ops.convert_to_numpy(each)[0].astype("float64")
        for each in (old.mean, old.variance)
    )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    scale, shift = 1 / deviation, -mean / deviation
    if old.invert:
        scale, shift = deviation, mean
    name = rebuilder.unused(name)
    return _rescaled(x, scale, shift, full_precision(old), name)


def _batch_normalization(rebuilder, old, name, x):
    kind = keras.layers.BatchNormalization
    return rebuilder.layer(old, name, kind)(x)


def _reshaped(x, sizes, dtype, name):
    """Features of other sizes, one of which may be unknown."""
    if tuple(x.shape[1:]) == tuple(sizes):
        return x
    sizes = [-1 if size is None else size for size in sizes]
    return keras.layers.Reshape(sizes, dtype=dtype, name=name)(x)


def _of_common_shapes(old, name, maps):
    """What a layer over several features makes of them before all else."""
    dtype = full_precision(old)
    return [
        _reshaped(x, shape[1:], dtype, f"{name}_reshape_{k}")
        if len(x.shape) != len(shape)
        else x
        for k, (x, shape) in enumerate(zip(maps, old.common_shapes), start=1)
    ]


def _fusion_module(rebuilder, old, name, maps):
    dtype = full_precision(old)
    maps = _of_common_shapes(old, name, maps)
    ones = (1,) * (4 - len(maps[0].shape))
    maps = [
        _reshaped(
            x,
            (*x.shape[1:-1], *ones, x.shape[-1]),
            dtype,
            f"{name}_as_map_{k}",
        )
        for k, x in enumerate(maps, start=1)
    ]

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
    x = block(x, old.pointwise, old.pointwise_bn)
    kept = x.shape[1 : 3 - len(ones)]
    return _reshaped(x, (*kept, x.shape[-1]), dtype, f"{name}_as_features")


def _feature_sum(rebuilder, old, name, maps):
    maps = _of_common_shapes(old, name, maps)
    return keras.layers.Add(dtype=full_precision(old), name=name)(maps)


def _feature_average(rebuilder, old, name, maps):
    maps = _of_common_shapes(old, name, maps)
    return keras.layers.Average(dtype=full_precision(old), name=name)(maps)


def _gate(rebuilder, old, name, x):
    dtype = full_precision(old)
    x = global_average(x, f"{name}_pooling", dtype)
    x = rebuilder.layer(old.dense, f"{name}_dense")(x)
    x = _batch_normalization(
        rebuilder, old.normalization, f"{name}_normalization", x
    )
    x = keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)
    return keras.layers.Softmax(dtype=dtype, name=name)(x)


_REPLACEMENTS = {
    BatchNormalization: _batch_normalization,
    FeatureAverage: _feature_average,
    FeatureSum: _feature_sum,
    FusionModule: _fusion_module,
    Gate: _gate,
    keras.layers.Normalization: _normalization,
}
