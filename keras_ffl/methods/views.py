"""Views: in training each network sees its own augmentation of an image."""

import keras
from keras import ops

from keras_ffl.batch_parts import holds_views
from keras_ffl.errors import InputError
from keras_ffl.labels import known_shape


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
                "`x` must hold either images or several views of each as long "
                "as a model is not compiled again"
            )
        if not holds_views(x, self.input.shape):
            return super().pass_of_step(x)
        network = _NetworkOfViews(self)
        return self.forward_pass(network, x, self.trainable_variables)


class _NetworkOfViews:
    """Calls each sub-network of a method on a view of its own.

    Args:
        method: `ParallelMethod` with `takes_views`.
    """

    def __init__(self, method):
        self._method = method
        maps = method.feature_maps()
        subs = [head for head in maps if head.startswith("sub_")]
        self._parts = []
        # TensorFlow adds gradients in the order of the models' names, and
        # those that Keras makes up differ in a process that loads its model.
        for head in subs:
            heads = head, head.replace("sub_", "teacher_")
            outputs = {h: method.output[h] for h in heads if h in method.output}
            outputs["features"] = maps[head]
            part = keras.Model(method.input, outputs, name=f"view_of_{head}")
            self._parts.append(part)
        others = {
            head: logits
            for head, logits in method.output.items()
            if head not in (*subs, *method.teacher_heads)
        }
        features = [maps[head] for head in subs]
        self._others = keras.Model(features, others, name="of_all_views")

    @property
    def losses(self):
        """The method's regularisation losses."""
        return self._method.losses

    def __call__(self, x, training):
        found = [
            part(x[:, k], training=training)
            for k, part in enumerate(self._parts)
        ]
        features = [outputs.pop("features") for outputs in found]
        if self._method.detach_fusion:
            features = [ops.stop_gradient(each) for each in features]
        logits = self._others(features, training=training)
        for outputs in found:
            logits |= outputs
        return {head: logits[head] for head in self._method.output}
