"""Grad-CAM and Grad-CAM++: where a head looks."""

import keras
import numpy as np
from keras import ops

from keras_ffl import backend
from keras_ffl.errors import InputError
from keras_ffl.layers.maps import map_shape
from keras_ffl.models.cutting import CutClassifier
from keras_ffl.number_checks import check_int
from keras_ffl.tasks.task import fits


def grad_cam(
    model, images, head=None, classes=None, layer=None, batch_size=100
):
    """Computes Grad-CAM maps: the parts of images that support a class.

        α_k = 1/(h w) sum_ij ∂z_c/∂A_ijk,   map = ReLU(sum_k α_k A_k)

    with the feature map A and the logit z_c of the class. Tokens whose number
    is a square are a map, row by row. For a head without a
    map of its own (an ensemble, a gated teacher), A is the concatenation of
    the last maps of all its sub-networks.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        images: Prepared images (n, h, w, c), a float array, or a
            `tf.data.Dataset` of batches of them, with or without labels.
        head: One of `model.heads`, None for `model.primary_head`.
        classes: The class to explain: an int for all images, integers (n,),
            or None for the class that the head predicts.
        layer: Name of the layer whose output is the feature map, possibly in
            a nested model (`subnetwork_1/stage3_block1_relu2`). None for the
            last map of the head, the one that it pools.
        batch_size: Int >= 1, images per batch if `images` is an array.

    Returns:
        float32 array (n, h', w') of the feature map's size, >= 0, not
        normalised.

    Raises:
        InputError: There is no such head, class or layer, the head or layer
            has no feature map (but a vector, or tokens whose number is no
            square), the sub-networks' maps differ in size although all
            are needed, or the images have another shape.

    Reference:
        Selvaraju et al., 2017, "Grad-CAM: Visual Explanations from Deep
        Networks via Gradient-based Localization",
        https://arxiv.org/abs/1610.02391, equations (1) and (2).
    """
    explain = _Explainer(model, head, layer)
    return explain(images, classes, batch_size, weigh_by_mean)


def grad_cam_plus_plus(
    model, images, head=None, classes=None, layer=None, batch_size=100
):
    """Computes Grad-CAM++ maps.

    The weights treat each position separately, so that several and small
    objects show:

        α_ijk = g_ijk² / (2 g_ijk² + g_ijk³ sum_ab A_abk)
        map = ReLU(sum_k A_k sum_ij α_ijk ReLU(g_ijk)),   g = ∂z_c/∂A

    The paper explains exp(z_c), whose derivatives are exp(z_c) times powers
    of g if z_c is piecewise linear in A. The factor exp(z_c), which scales the
    map as a whole, is omitted.

    Args:
        model, images, head, classes, layer, batch_size: As in `grad_cam`.

    Returns:
        As in `grad_cam`.

    Raises:
        InputError: As in `grad_cam`.

    Reference:
        Chattopadhyay et al., 2018, "Grad-CAM++: Generalized Gradient-based
        Visual Explanations for Deep Convolutional Networks",
        https://arxiv.org/abs/1710.11063, equations (10) and (19).
    """
    explain = _Explainer(model, head, layer)
    return explain(images, classes, batch_size, weigh_by_place)


def has_map(model, head):
    """Whether a head has a Grad-CAM map unless a `layer` is named, a bool.

    An ensemble of networks whose maps differ in size has none.

    Args:
        model, head: As in `grad_cam`.
    """
    try:
        _Explainer(model, head, None)
    except InputError:
        return False
    return True


# ----- from a map and its gradient to the weights of its channels ------------


def weigh_by_mean(features, gradients):
    """Grad-CAM's weights of the channels.

    Args:
        features: Float array (batch, h, w, C), the feature map A.
        gradients: Float array (batch, h, w, C), gradients of the logit with
            respect to A.

    Returns:
        Float array (batch, C).
    """
    return gradients.mean(axis=(1, 2))


def weigh_by_place(features, gradients):
    """Grad-CAM++'s weights of the channels.

    Args:
        features: As in `weigh_by_mean`.
        gradients: As in `weigh_by_mean`.

    Returns:
        Float array (batch, C).
    """
    # α = 1 / (2 + g sum A): without g² nothing underflows. If the gradient is
    # not positive, its ReLU is 0 and α doesn't matter.
    positive = np.maximum(gradients, 0)
    total = features.sum(axis=(1, 2), keepdims=True)
    denominator = 2 + positive * total
    # For a map without ReLU the sum may be negative; undefined weights are left
    # out.
    shares = np.divide(
        positive,
        denominator,
        out=np.zeros_like(positive),
        where=denominator != 0,
    )
    return shares.sum(axis=(1, 2))


# ----- computation ------------------------------------------------------------


class _Explainer:
    """A head, cut at the feature map of interest."""

    def __init__(self, model, head, layer):
        model.task.check_counts_classes("Grad-CAM's maps of a class")
        head = model.primary_head if head is None else head
        classifier = model.classifier(head)
        maps = None if layer else _own_maps(model, head)
        self._shape = classifier.input_shape[1:]
        self._classes = model.num_classes
        self._cut = CutClassifier(classifier, maps, layer)

    def __call__(self, images, classes, batch_size, weigh):
        batch_size = check_int("batch_size", batch_size, least=1)
        classes = _checked_classes(classes, self._classes)
        found, start = [], 0
        for batch in _batches(images, batch_size):
            self._check_images(batch)
            own = classes
            if np.ndim(classes):
                own = classes[start : start + len(batch)]
                start += len(batch)
                if len(own) < len(batch):
                    raise _other_number(len(classes), f"at least {start}")
            found.append(self._batch(batch, own, weigh))
        if np.ndim(classes) and start != len(classes):
            raise _other_number(len(classes), start)
        if not found:
            raise InputError("`images` must hold at least one image, got none")
        return np.concatenate(found)

    def _check_images(self, batch):
        if not fits(batch.shape, (None, *self._shape)):
            raise InputError(
                f"`images` must be of shape {(None, *self._shape)}, got "
                f"{tuple(batch.shape)}"
            )

    def _batch(self, images, classes, weigh):
        images = ops.convert_to_tensor(images, dtype="float32")
        maps = self._cut.maps(images)
        if classes is None:
            logits = self._cut.logits(images, maps)
            classes = ops.convert_to_numpy(ops.argmax(logits, axis=-1))
        chosen = ops.one_hot(
            np.broadcast_to(classes, (len(images),)), self._classes
        )

        def score(maps):
            logits = ops.cast(self._cut.logits(images, maps), "float32")
            return ops.sum(chosen * logits, axis=-1)

        gradients = backend.gradients_of(score, maps)
        features, gradients = _as_one(maps), _as_one(gradients)
        weights = weigh(features, gradients)
        total = np.einsum("bhwc,bc->bhw", features, weights)
        return np.maximum(total, 0)


def _own_maps(model, head):
    """The last feature maps that a head is computed from, or None."""
    maps = model.feature_maps()
    if head in maps:
        return [_checked_map(maps[head], head)]
    subs = [
        maps[f"sub_{k}"] for k in range(1, len(maps) + 1) if f"sub_{k}" in maps
    ]
    sizes = {map_shape(_checked_map(x, head).shape)[1:3] for x in subs}
    if len(sizes) > 1:
        raise InputError(
            f"`head` {head!r} joins feature maps of different sizes, "
            f"{', '.join(map(str, sorted(sizes)))}; take one of "
            f"{', '.join(maps)}, or name a `layer`"
        )
    return subs or None


def _checked_map(features, head):
    if map_shape(features.shape) is None:
        raise InputError(
            f"`head` {head!r} must have a feature map, (batch, h, w, C) or "
            "(batch, tokens, C) with a square number of tokens; it has "
            f"{features.shape}, so name a `layer` that has one"
        )
    return features


def _as_one(maps):
    """Concatenates the channels of maps of one size, in float32."""
    arrays = [np.asarray(ops.convert_to_numpy(each)) for each in maps]
    arrays = [each.reshape(map_shape(each.shape)) for each in arrays]
    return np.concatenate(arrays, axis=-1).astype("float32")


def _batches(images, batch_size):
    if hasattr(images, "shape"):
        for start in range(0, len(images), batch_size):
            yield images[start : start + batch_size]
        return
    for batch in images:
        yield keras.utils.unpack_x_y_sample_weight(batch)[0]


def _checked_classes(classes, number):
    if classes is None:
        return None
    array = np.asarray(classes)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise InputError(
            f"`classes` must be an int, integers (n,) or None, got {classes!r}"
        )
    outside = array[(array < 0) | (array >= number)]
    if outside.size:
        raise InputError(
            f"`classes` must be in 0..{number - 1}, got {outside.flat[0]}"
        )
    return array


def _other_number(given, images):
    return InputError(
        f"`classes` must be one for each of the {images} images, got {given}"
    )
