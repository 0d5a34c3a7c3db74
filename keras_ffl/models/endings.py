"""Whether a classifier ends in logits or in probabilities."""

import collections
import dataclasses

import keras

from keras_ffl.models.graph import unrolled

LOGITS = "logits"
SOFTMAX = "softmax"
SIGMOID = "sigmoid"

# Layers that may follow the classifying one without changing its values. Keras
# inserts a cast operation between layers of different dtypes.
_PASSING = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)
_PASSING_OPERATIONS = ("Cast", "Reshape", "Squeeze")
# Sums, means and multiples of logits are logits.
_COMBINING = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Subtract,
)
_COMBINING_OPERATIONS = (
    "Add",
    "Average",
    "Divide",
    "Einsum",
    "Mean",
    "Multiply",
    "Negative",
    "Stack",
    "Subtract",
    "Sum",
    "TrueDivide",
)
_NONLINEAR = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)


@dataclasses.dataclass(frozen=True)
class Ending:
    """The end of a classifier, as far as its graph reveals it.

    Attributes:
        kind: `LOGITS`, `SOFTMAX` or `SIGMOID` (probabilities), or None if the
            graph doesn't tell.
        what: Str that completes a message "at the end of ...".
        layer: The layer or bare operation whose activation can be removed to
            make the classifier end in logits, or None.
    """

    kind: str | None
    what: str
    layer: keras.Operation | None = None

    @property
    def activation(self):
        """ "softmax" or "sigmoid" if the classifier ends in it, else None."""
        return self.kind if self.kind in (SOFTMAX, SIGMOID) else None


def find_ending(model):
    """Finds the end of a classifier in its graph, nested models included.

    Args:
        model: Functional `keras.Model` whose last output is a classifier's.

    Returns:
        `Ending`.
    """
    return _Graph(model).ending()


class _Graph:
    def __init__(self, model):
        calls, tensors = unrolled(model)
        self._output = tensors[id(model.outputs[-1])]
        self._producers = {id(x): call for call in calls for x in call.outputs}
        self._times_called = collections.Counter(
            id(call.layer) for call in calls
        )
        self._uses = collections.Counter(
            id(x) for call in calls for x in call.inputs
        )
        for x in model.outputs:
            self._uses[id(tensors[id(x)])] += 1

    def ending(self):
        tensor, used_once = self._output, True
        while True:
            used_once = used_once and self._uses[id(tensor)] == 1
            call = self._producers.get(id(tensor))
            if call is None or not _passes(call.layer):
                break
            tensor = call.inputs[0]
        kind, what = self._kind(tensor)
        removable = (
            call is not None
            and (_is_softmax(call) or _is_sigmoid(call))
            and used_once
            and self._times_called[id(call.layer)] == 1
        )
        return Ending(kind, what, call.layer if removable else None)

    def _kind(self, tensor):
        """What a tensor holds, and a description of the layer that makes it."""
        call = self._producers.get(id(tensor))
        if call is None:
            return None, "nothing classifies"
        layer = call.layer
        if _passes(layer):
            return self._kind(call.inputs[0])
        what = f"stands {_described(layer)}"
        if _is_softmax(call):
            return SOFTMAX, what
        if _is_sigmoid(call):
            return SIGMOID, what
        if _is_operation(layer, "LogSoftmax"):
            return LOGITS, what
        if _is_operation(layer, "Log"):
            of_what, _ = self._kind(call.inputs[0])
            return (LOGITS if of_what == SOFTMAX else None), what
        if isinstance(layer, _COMBINING) or _is_operation(
            layer, *_COMBINING_OPERATIONS
        ):
            kinds = {self._kind(each)[0] for each in call.inputs}
            return (kinds.pop() if len(kinds) == 1 else None), what
        plain = isinstance(layer, keras.Layer) and (
            not isinstance(layer, _NONLINEAR)
            and _activation_name(layer) in ("linear", "log_softmax")
        )
        return (LOGITS if plain else None), what


def _is_operation(layer, *names):
    return not isinstance(layer, keras.Layer) and type(layer).__name__ in names


def _passes(layer):
    return (
        isinstance(layer, _PASSING)
        or (
            isinstance(layer, keras.layers.Activation)
            and _activation_name(layer) == "linear"
        )
        or _is_operation(layer, *_PASSING_OPERATIONS)
    )


def _is_softmax(call):
    layer = call.layer
    if isinstance(layer, keras.layers.Softmax) or _is_operation(
        layer, "Softmax"
    ):
        return layer.axis in (-1, len(call.outputs[0].shape) - 1)
    return _activation_name(layer) == "softmax"


def _is_sigmoid(call):
    return (
        _is_operation(call.layer, "Sigmoid")
        or _activation_name(call.layer) == "sigmoid"
    )


def _activation_name(layer):
    """The name of a layer's activation, "linear" if it has none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    if isinstance(activation, keras.layers.Softmax):
        return "softmax"
    name = getattr(activation, "__name__", str(activation))
    # TensorFlow's names.
    return {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax"}.get(
        name, name
    )


def _described(layer):
    if not isinstance(layer, keras.Layer):
        return f"the bare operation '{layer.name}'"
    if isinstance(layer, _NONLINEAR):
        return f"the activation layer '{layer.name}'"
    if _activation_name(layer) == "linear":
        return f"{type(layer).__name__} '{layer.name}'"
    return f"layer '{layer.name}' with activation {_activation_name(layer)}"
