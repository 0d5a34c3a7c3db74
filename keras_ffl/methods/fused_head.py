"""The layers from fused features to the output, in methods that have them."""

import inspect

import keras

from keras_ffl.errors import InputError, first_line
from keras_ffl.layers import FusionModule
from keras_ffl.layers.maps import check_features
from keras_ffl.layers.stop_gradient import StopGradient
from keras_ffl.models.components import pooled_logits
from keras_ffl.models.graph import calls
from keras_ffl.optimizers import set_decay_group

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
        _check_name("head", head)
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


def checked_fusion(fusion):
    """A user's layer that fuses features, `FusionModule` for None.

    Raises:
        InputError: It is no layer.
    """
    if fusion is None:
        return FusionModule(name="fusion_module")
    if not isinstance(fusion, keras.layers.Layer):
        raise InputError(
            "`fusion` must be a Keras layer over a list of feature maps, "
            f"got {fusion!r}"
        )
    _check_name("fusion", fusion)
    return fusion


def _check_name(argument, layer):
    if layer.name == "fused":
        raise InputError(
            f"`{argument}` must have another name than 'fused', that of the "
            "head"
        )


def fused_logits(fusion, head, image, networks):
    """The output of a head for the fused features of networks.

    Args:
        fusion: Layer, as from `checked_fusion`.
        head: As in `fused_output`.
        image: KerasTensor, not used.
        networks: List of the networks' outputs.

    Returns:
        Dict, "fused" to a KerasTensor.

    Raises:
        InputError: As in `fused_output`.
    """
    fused = fusion([network["features"] for network in networks])
    return {"fused": fused_output(fused, head, networks[0]["logits"])}


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

    def get_config(self):
        config = super().get_config()
        if self._fused_head_name != _DEFAULT:
            config["head"] = keras.saving.serialize_keras_object(
                self.fused_head
            )
        return config


class FusedFeatures(FusedHead):
    """Mixin of methods that take `fusion` besides: the layer over features.

    Their constructors call `set_fusion`.
    """

    def set_fusion(self, fusion, head_name):
        """Sets the names of the layers, and their group of weight decay.

        Args:
            fusion: Layer of this model, as from `checked_fusion`.
            head_name: What `check_head` returned.
        """
        self._fusion_name = fusion.name
        self._fused_head_name = head_name
        for layer in (fusion, self.fused_head):
            set_decay_group(layer.variables, "fusion")

    @property
    def fusion(self):
        """The layer that fuses the feature maps."""
        return self.get_layer(self._fusion_name)

    def feature_maps(self):
        """The last feature maps, a dict from head to `keras.KerasTensor`."""
        # A model's `output` belongs to its own graph.
        (fused,) = (
            call.outputs[0] for call in calls(self) if call.layer is self.fusion
        )
        return {"fused": fused, **super().feature_maps()}

    def detached_fusion(self):
        """The fused features and output without a gradient to the networks.

        Only graphs of training steps contain them (`network_of_step`):
        extracted and exported heads, which may be trained further, have no
        stopped gradients.

        Returns:
            Dict of `keras.KerasTensor`s: "features" and "fused", computed by
            the layers of the head "fused".
        """
        features = self.feature_maps()
        outputs = {
            "features": features["fused"],
            "fused": self.output["fused"],
        }
        # Networks may have the same features.
        maps = {id(features[head]): features[head] for head in self.sub_heads}
        maps = list(maps.values())
        head = keras.Model(maps, outputs)
        # `call` instead of the model itself: no nested model.
        return head.call([StopGradient()(each) for each in maps])

    def get_config(self):
        return {
            **super().get_config(),
            "fusion": keras.saving.serialize_keras_object(self.fusion),
        }
