"""The layers from fused features to the output, in methods that have them."""

import inspect

import keras
from keras import ops

from keras_ffl.errors import InputError, first_line
from keras_ffl.models.checks import check_features
from keras_ffl.models.components import pooled_logits

_DEFAULT = "fused_classifier"
_FROM_FUNCTION = "fused_head"


def check_head(head):
    """Raises `InputError` unless `head` can be a method's.

    Args:
        head: The user's value: a Keras layer or model, a function from a
            KerasTensor, the fused features, to another, or None.

    Returns:
        Str, the name of the layer that gives the fused output.
    """
    if head is None:
        return _DEFAULT
    if isinstance(head, keras.layers.Layer):
        return head.name
    if not callable(head) or inspect.isclass(head):
        raise InputError(
            "`head` must be a Keras layer or a function from the fused "
            f"features to the output, got {head!r}"
        )
    return _FROM_FUNCTION


def fused_output(features, head, like, source="`fusion`"):
    """The output for the fused features.

    Args:
        features: KerasTensor, the fused features.
        head: As in `check_head`. What a function computes becomes a nested
            model, so that it is saved with its layers. None for
            `pooled_logits`.
        like: KerasTensor of the shape of the output: a sub-network's.
        source: Name of the source of `features`, for messages.

    Returns:
        KerasTensor of the shape of `like`.

    Raises:
        InputError: `features` have another shape than features have, or
            `head` can't be called on them or gives another shape.
    """
    shape = getattr(features, "shape", ())
    check_features(f"the features from {source}", shape)
    if head is None and len(like.shape) != 2:
        raise InputError(
            "`head` must map the fused features to the shape of the "
            f"sub-networks' outputs, {like.shape}, got None, which gives "
            "(batch, classes)"
        )
    if head is None:
        return pooled_logits(features, like.shape[-1], prefix="fused_")
    try:
        if not isinstance(head, keras.layers.Layer):
            head = _model(features, head)
        output = head(features)
    # Users' layers and functions may raise anything.
    except Exception as error:
        raise InputError(
            f"`head` can't be called on the fused features of shape {shape}: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(output, keras.KerasTensor) or output.shape != like.shape:
        got = getattr(output, "shape", output)
        raise InputError(
            "`head` must give one tensor of the shape of the sub-networks' "
            f"outputs, {like.shape}, got {got}"
        )
    return output


def _model(features, function):
    given = keras.Input(features.shape[1:], dtype=features.dtype)
    return keras.Model(given, function(given), name=_FROM_FUNCTION)


class FusedHead:
    """Mixin of methods that take `head`: the layer, and its configuration.

    Their constructors set `_fused_head_name` to what `check_head` returns.
    """

    @property
    def fused_head(self):
        """The layer that gives the fused output.

        The layer or nested model from `head`, by default the dense layer
        after pooling.
        """
        return self.get_layer(self._fused_head_name)

    def detached_fusion(self, maps):
        """The fused features and output without a gradient to the networks.

        Only graphs of training steps contain them (`network_of_step`):
        extracted and exported heads, which may be trained further, have no
        stopped gradients.

        Args:
            maps: List of `keras.KerasTensor`s, the features that are fused.

        Returns:
            Dict of `keras.KerasTensor`s: "features" and "fused", computed by
            the layers of the head "fused".
        """
        # Networks may have the same features.
        maps = list({id(each): each for each in maps}.values())
        features = self.feature_maps()["fused"]
        head = keras.Model(
            maps, {"features": features, "fused": self.output["fused"]}
        )
        # `call` instead of the model itself: no nested model.
        return head.call([ops.stop_gradient(each) for each in maps])

    def get_config(self):
        config = super().get_config()
        if self._fused_head_name != _DEFAULT:
            config["head"] = keras.saving.serialize_keras_object(
                self.fused_head
            )
        return config
