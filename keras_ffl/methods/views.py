"""Views: in training each network sees its own augmentation of an image."""

import keras
from keras import ops

from keras_ffl.batch_parts import holds_views
from keras_ffl.errors import InputError
from keras_ffl.labels import known_shape
from keras_ffl.layers.stop_gradient import StopGradient


class Views:
    """Mixin of `ParallelMethod`, for training on several views of an image.

    A training batch may hold images (batch, n, h, w, c) for n sub-networks:
    network k and its mean teacher see view k, and further heads combine the
    features that the networks have of their own views. With images (batch, h,
    w, c), as in evaluation, all networks see the same image.

    Attributes:
        takes_views: Bool, whether a class allows this. Its further heads must
            depend on nothing but the sub-networks' features.
        detach_fusion: Bool, whether these heads' losses don't train the
            sub-networks.
    """

    takes_views = False
    detach_fusion = False

    @property
    def views(self):
        """Number of views that an image may have in training, 0 for none."""
        return self.branches if self.takes_views else 0

    def pass_of_step(self, x):
        """The forward pass of a step, of single images or of views.

        Raises:
            InputError: It can't be told which of them the batch holds.
        """
        if self.takes_views and known_shape(x) is None:
            raise InputError(
                "`x` must have the same rank in all calls until compile() is "
                f"called again, that of images {self.input.shape} or of "
                "several views of each, got both ranks"
            )
        if not holds_views(x, self.input.shape):
            return super().pass_of_step(x)
        views = ops.unstack(x, self.views, axis=1)
        network = _network_of_views(self)
        return self.forward_pass(network, views, self.trainable_variables)


def _network_of_views(method):
    """The network of a step in which each sub-network has its own view.

    Args:
        method: `ParallelMethod` with `takes_views`.

    Returns:
        `keras.Model` from the list of views to a dict of outputs.

    Raises:
        InputError: Sub-networks have the same features.
    """
    maps = method.feature_maps()
    subs = [head for head in maps if head.startswith("sub_")]
    if len({id(maps[head]) for head in subs}) < len(subs):
        raise InputError(
            "`x` can't hold views: sub-networks have the same features, which "
            "would be those of several views; give each network its own "
            "`feature_layer`"
        )
    views, features, logits = [], [], {}
    # TensorFlow adds gradients in the order of the models' names, and those
    # that Keras makes up differ in a process that loads its model.
    for head in subs:
        heads = head, head.replace("sub_", "teacher_")
        outputs = {h: method.output[h] for h in heads if h in method.output}
        outputs["features"] = maps[head]
        network = keras.Model(method.input, outputs, name=f"view_of_{head}")
        views.append(
            keras.Input(method.input.shape[1:], dtype=method.input.dtype)
        )
        found = network(views[-1])
        features.append(found.pop("features"))
        logits |= found
    if method.detach_fusion:
        features = [StopGradient()(each) for each in features]
    others = {h: z for h, z in method.output.items() if h not in logits}
    network = keras.Model(
        [maps[head] for head in subs], others, name="of_all_views"
    )
    logits |= network(features)
    logits = {head: logits[head] for head in method.output}
    return keras.Model(views, logits, name="network_of_views")
