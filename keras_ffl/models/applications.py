"""The networks of `keras.applications` as sub-networks."""

import contextlib
import inspect

import keras
import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.models.checks import check_image_shape
from keras_ffl.models.components import pooled_logits
from keras_ffl.models.subnetwork import preprocessed
from keras_ffl.number_checks import check_int


def application(
    name,
    num_classes,
    mean,
    std,
    input_shape=(224, 224, 3),
    weights=None,
    **options,
):
    """A Keras application with its top replaced by a new classifier.

    The application's last feature map goes through global average pooling to
    a new dense layer, whatever the weights were trained for. Images are
    normalised as for every other network and converted inside to what the
    application expects. To keep an application's top, pass the whole model to
    `as_subnetwork` with `application_preprocessing`.

    Args:
        name: Name of a model in `keras.applications`, e.g. `"MobileNetV2"`.
        num_classes: Int >= 1, m.
        mean: As in `application_preprocessing`.
        std: As in `application_preprocessing`.
        input_shape: (height, width, channels), ints >= 1; most applications
            need at least 32 pixels and three channels.
        weights: None for random weights, "imagenet" for pretrained ones,
            which Keras downloads once, or the path of a weights file for the
            application without its top.
        **options: Other arguments of the application, such as `alpha`.

    Returns:
        Functional `keras.Model` from normalised float images (batch, height,
        width, channels) to `{"features": (batch, h, w, C), "logits": (batch,
        m)}`. Unlike the application's layers, logits are at least float32.

    Raises:
        InputError: There is no such application, an argument is out of
            range, or Keras can't build it; the message says why.

    Example:

    >>> info = keras_ffl.data.load("cifar100").info
    >>> subnetwork = application(
    ...     "MobileNetV2", 100, info.mean, info.std, (32, 32, 3)
    ... )
    """
    num_classes = check_int("num_classes", num_classes, least=1)
    input_shape = check_image_shape(input_shape)
    preprocessing = application_preprocessing(name, mean, std)
    if not options.get("include_preprocessing", True):
        raise InputError(
            "`include_preprocessing` must be True, because images are "
            "converted to what the application expects by default, got "
            f"{options['include_preprocessing']!r}"
        )
    try:
        with _channels_last():
            backbone = _find(name)(
                include_top=False,
                weights=weights,
                input_shape=input_shape,
                **options,
            )
    # Keras raises a bare Exception if a download fails.
    except Exception as error:
        raise InputError(f"keras.applications.{name}: {error}") from error
    outputs = {
        "features": backbone.output,
        "logits": pooled_logits(backbone.output, num_classes),
    }
    network = keras.Model(backbone.input, outputs, name=backbone.name)
    return preprocessed(network, preprocessing)


def application_preprocessing(name, mean, std):
    """Makes the preprocessing from normalised images to an application's.

    It undoes the normalisation, `image * std + mean`, and calls the
    `preprocess_input` of the application's family, which scales to -1..1,
    subtracts ImageNet's mean from blue, green and red, or does nothing if the
    application scales its images itself.

    Args:
        name: Name of a model in `keras.applications`, e.g. `"ResNet50"`.
        mean: One float per channel, the mean that was subtracted from images
            in 0..255, as in `keras_ffl.data.DatasetInfo`.
        std: One float > 0 per channel, the divisor after that.

    Returns:
        Function from a KerasTensor or tensor of normalised images (batch,
        height, width, channels) to one of the same shape, in float32 even
        under a half-precision policy: `preprocessing` for `as_subnetwork`.

    Raises:
        InputError: There is no such application, `mean` and `std` don't
            match, or (from the function) they don't match the channels.

    Example:

    >>> classifier = keras.applications.MobileNetV2(weights="imagenet")
    >>> subnetwork = as_subnetwork(
    ...     classifier,
    ...     "out_relu",
    ...     preprocessing=application_preprocessing(
    ...         "MobileNetV2", info.mean, info.std
    ...     ),
    ... )
    """
    # Not the public modules: `mobilenet_v3` lacks its own models.
    family = inspect.getmodule(_find(name))
    # Arrays, because Keras would round lists to float32.
    mean, std = np.ravel(mean).astype(float), np.ravel(std).astype(float)
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise InputError(
            "`mean` and `std` must have one number per channel, those of "
            f"`std` > 0, got {mean} and {std}"
        )

    def preprocess(images):
        if images.shape[-1] != len(mean):
            raise InputError(
                f"`mean` and `std` have {len(mean)} numbers, images of shape "
                f"{tuple(images.shape)} have {images.shape[-1]} channels"
            )
        dtype = keras.config.dtype_policy().variable_dtype
        # On the last of three axes: with channels-first settings in
        # `keras.config.image_data_format()` a vector would go on the first.
        images = keras.layers.Rescaling(
            std[None, None], mean[None, None], dtype=dtype
        )(images)
        return family.preprocess_input(images, data_format="channels_last")

    return preprocess


@contextlib.contextmanager
def _channels_last():
    """Sets the image data format that the applications' layers read."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def _find(name):
    """The function in `keras.applications` that builds the named model."""
    builders = {
        key: value
        for key, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }
    if not isinstance(name, str) or name not in builders:
        raise InputError(
            "`name` must be a model of keras.applications: "
            f"{', '.join(sorted(builders))}; got {name!r}"
        )
    return builders[name]
