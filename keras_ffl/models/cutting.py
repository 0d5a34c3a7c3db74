"""Cuts a classifier in two at some of its feature maps."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import map_shape
from keras_ffl.models.feature_layers import find_call
from keras_ffl.models.graph import leading_to, unrolled


class CutClassifier:
    """The two parts of a classifier: image to maps, image and maps to logits.

    The parts call the classifier's own layers in inference mode. The maps may
    be inside nested models.

    Args:
        model: Functional `keras.Model` from one image tensor to one tensor of
            logits.
        maps: List of KerasTensors of the graph of `model`, or None for the
            map of `layer`.
        layer: Name of the layer whose output is the map, (batch, h, w, C) or
            (batch, tokens, C) with a square number of tokens. A layer inside
            a nested model goes by its path, names separated by slashes, or
            the last parts of that. If both are None, the map is the last one
            that all later layers depend on.

    Raises:
        InputError: There is no such layer or several of that name, it is
            called several times, its output is no map, or no map lies on
            every path to the logits.
    """

    def __init__(self, model, maps=None, layer=None):
        self._model = model
        self._calls, tensors = unrolled(model)
        self._image = tensors[id(model.inputs[0])]
        self._logits = tensors[id(model.outputs[0])]
        if maps is not None:
            self._maps = [tensors[id(tensor)] for tensor in maps]
        elif layer is not None:
            self._maps = [self._output_of(layer)]
        else:
            self._maps = [self._last_common_map()]

    def maps(self, images):
        """Computes the feature maps, a list of tensors.

        Args:
            images: Float array or tensor (batch, h, w, c).
        """
        return self._run({id(self._image): images}, self._maps)

    def logits(self, images, maps):
        """Computes the logits from given feature maps.

        Args:
            images: As in `maps`. Used only by layers that bypass the maps.
            maps: List of tensors as returned by `maps`.

        Returns:
            Float tensor (batch, classes).
        """
        given = {id(self._image): images}
        given.update(zip(map(id, self._maps), maps, strict=True))
        (logits,) = self._run(given, [self._logits])
        return logits

    # ----- finding a map -------------------------------------------------

    def _output_of(self, layer):
        call = find_call(
            self._model,
            self._calls,
            layer,
            lambda call: None if _is_map(call) else "gives no feature map",
            "`layer` must name a layer with a feature map (batch, h, w, C) or "
            "(batch, tokens, C) with a square number of tokens",
        )
        return call.outputs[0]

    def _candidates(self, most=5):
        paths = [call.path for call in self._calls if _is_map(call)]
        return ", ".join(paths[: -most - 1 : -1]) or "none"

    def _last_common_map(self):
        for call in reversed(self._calls):
            if _is_map(call):
                (tensor,) = call.outputs
                logits = {id(self._logits)}
                _, needed = leading_to(self._calls, logits, {id(tensor)})
                if id(self._image) not in needed:
                    return tensor
        raise InputError(
            f"`layer` must be given for '{self._model.name}', in which no "
            "feature map lies on every path to the logits; candidates are "
            f"{self._candidates()}"
        )

    # ----- computing -----------------------------------------------------

    def _run(self, values, wanted):
        """Computes wanted tensors from a dict of given values, keyed by id."""
        values = dict(values)
        plan, _ = leading_to(self._calls, set(map(id, wanted)), set(values))
        for call in reversed(plan):
            args, kwargs = keras.tree.map_structure(
                lambda leaf: values.get(id(leaf), leaf),
                (call.args, call.kwargs),
            )
            outputs = keras.tree.flatten(call.layer(*args, **kwargs))
            for tensor, value in zip(call.outputs, outputs, strict=True):
                values.setdefault(id(tensor), value)
        return [values[id(tensor)] for tensor in wanted]


def _is_map(call):
    return len(call.outputs) == 1 and map_shape(call.outputs[0].shape)
