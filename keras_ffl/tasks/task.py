"""What the networks of a method learn."""

import keras
import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.labels import (
    as_array,
    dtype_name,
    known_shape,
    shape_of_labels,
)


class Task:
    """What networks learn: labels, loss, divergence, average, prediction.

    Every method takes a task as `task=`. A task of your own is a subclass that
    defines `loss` and `divergence`, the rest where the defaults don't fit, and
    `get_config` if its constructor has arguments; register it with
    `keras.saving.register_keras_serializable`, so that models with it can be
    loaded.

    In all methods, `shape` is the shape of a head's output, a tuple whose first
    entry is None for the batch.

    Attributes:
        loss_name: Str, the prefix of the supervised terms that are logged,
            such as "ce" in `ce_fused`.
        activation: "softmax" or "sigmoid" if outputs are logits which this
            function turns into probabilities; None if outputs are used as
            they are. A network that applies it already is refused.
        output_name: Str, the name of the main output in an exported model.
        counts_classes: Bool, whether every image has one of several classes,
            as top-1 errors, confusion matrices and Grad-CAM require.
    """

    loss_name = "loss"
    activation = None
    output_name = "values"
    counts_classes = False

    # ----- what is computed in a step ----------------------------------------

    def loss(self, y, outputs):
        """Computes the loss of every sample.

        Args:
            y: Labels, checked by `check_kind`.
            outputs: Float tensor of the shape `shape`.

        Returns:
            Float tensor (batch,).
        """
        raise NotImplementedError

    def divergence(self, teacher, student, temperature, y=None):
        """Computes how far a student's outputs are from its teacher's.

        The teacher is a constant: no gradient may flow to it.

        Args:
            teacher: Float tensor of the shape `shape`.
            student: Float tensor of the same shape.
            temperature: Float > 0, the method's T.
            y: Labels, for divergences that need them.

        Returns:
            Float tensor (batch,), >= 0 and 0 for equal outputs. It includes
            the factor T² if outputs are softened.
        """
        raise NotImplementedError

    def average(self, outputs):
        """The average of several networks' outputs: here their mean.

        Args:
            outputs: List of tensors of the shape `shape`.

        Returns:
            Tensor of the shape `shape`.
        """
        return sum(outputs) / len(outputs)

    def prediction(self, outputs):
        """What an exported model returns.

        Args:
            outputs: Float tensor of the shape `shape`.

        Returns:
            Dict from name to tensor, with `output_name` among the names.
        """
        activations = {
            None: lambda x: x,
            "sigmoid": ops.sigmoid,
            "softmax": ops.softmax,
        }
        return {self.output_name: activations[self.activation](outputs)}

    def metrics(self, shape):
        """Metrics of a head that suit this task, as `compile` takes them.

        Args:
            shape: As above.

        Returns:
            List; empty by default.
        """
        return []

    # ----- which outputs and labels are valid --------------------------------

    def check_output(self, what, shape):
        """Checks the shape of a network's output.

        Args:
            what: Str, the source of the output, which starts the message.
            shape: As above.

        Raises:
            InputError: Networks for this task don't give such an output.
        """
        if len(shape) < 2:
            raise InputError(
                f"{what} must give a batch of outputs, got shape {shape}"
            )

    def label_shape(self, shape):
        """The shape of a batch of labels, a tuple; here `shape`."""
        return shape

    def check_kind(self, y, shape, argument="y"):
        """Checks the type and shape of labels, but not their values.

        Here labels are numbers of `label_shape`; an axis of length 1 at the
        end may be missing.

        Args:
            y: Array, tensor or its specification, such as `keras.KerasTensor`.
            shape: As above.
            argument: Name of the argument for the message.

        Raises:
            InputError: They are not labels of this task.
        """
        check_numbers(y, argument)
        expected = self.label_shape(shape)
        given = known_shape(y)
        if given is not None and len(given) == len(expected) - 1:
            given = (*given, 1)
        if given is None or not fits(given, expected):
            raise InputError(
                f"`{argument}` must have shape {in_words(expected)} for "
                f"{type(self).__name__}, got {known_shape(y)}"
            )

    def value_checks(self, y, shape):
        """Conditions that the values of labels must meet; here they are finite.

        They are evaluated for arrays and, on CPUs, for every batch.

        Args:
            y: Array or tensor, checked by `check_kind`.
            shape: As above.

        Returns:
            List of tuples: a bool scalar tensor and the parts of the message
            if it is False, strings and scalar tensors. The message follows
            the name of the argument and a colon.
        """
        if not is_floating(y):
            return []
        finite = ops.all(ops.isfinite(y))
        return [(finite, "labels must be finite, those of a batch are not")]

    def check_values(self, y, shape, argument="y"):
        """Checks an array of labels, including its values.

        Args:
            y: Array-like.
            shape: As above.
            argument: Name of the argument for the message.

        Raises:
            InputError: They are not labels of this task.
        """
        y = as_array(y, argument)
        self.check_kind(y, shape, argument)
        for good, *message in self.value_checks(y, shape):
            if not bool(ops.convert_to_numpy(good)):
                words = (
                    part if isinstance(part, str) else f"{np.asarray(part)}"
                    for part in message
                )
                raise InputError(f"`{argument}`: {' '.join(words)}")

    def check_counts_classes(self, what):
        """Raises `InputError` unless every image has one of several classes.

        Args:
            what: Str, a plural that starts the message: what needs this.
        """
        if not self.counts_classes:
            raise InputError(
                f"{what} need a model whose task is Classification, got one "
                f"for {type(self).__name__}"
            )

    # ----- serialisation -----------------------------------------------------

    def get_config(self):
        """The arguments of the constructor by name, a dict."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The task whose `get_config` returned `config`."""
        return cls(**config)


def check_numbers(y, argument):
    """Raises `InputError` unless labels are numbers of a known rank."""
    dtype = dtype_name(y.dtype)
    if not dtype.startswith(("int", "uint", "float", "bfloat", "bool")):
        raise InputError(f"`{argument}` must hold numbers, got dtype {dtype}")
    shape_of_labels(y, argument)


def class_index(outputs):
    """The class of the largest output, (...) for outputs (..., classes).

    It is int64, or int32 where JAX has no int64.
    """
    index = ops.argmax(outputs, axis=-1)
    return ops.cast(index, keras.backend.result_type("int64"))


def integers_below(classes, y, ignored=None):
    """The check that labels are integers in 0..classes - 1, or `ignored`.

    Args:
        classes: Int.
        y: Array or tensor of integers, or of floats with integer values.
        ignored: Int, a further valid label, or None.

    Returns:
        Tuple as in `Task.value_checks`.
    """
    # Of a batch without samples these are the dtype's largest and smallest.
    low, high = ops.min(y), ops.max(y)
    good = ops.logical_and(
        ops.cast(low, "float32") >= 0, ops.cast(high, "float32") < classes
    )
    more = ""
    if ignored is not None:
        values = ops.cast(y, "float32")
        inside = ops.logical_and(values >= 0, values < classes)
        ignore = ops.equal(values, ignored)
        good = ops.all(ops.logical_or(inside, ignore))
        more = f" or {ignored}"
    if is_floating(y):
        good = ops.logical_and(good, ops.all(ops.equal(ops.floor(y), y)))
    expected = f"labels must be integers in 0..{classes - 1}{more}"
    return good, f"{expected}, those of a batch go from", low, "to", high


def is_floating(y):
    """Whether labels are floating-point numbers."""
    return dtype_name(y.dtype).startswith(("float", "bfloat"))


def fits(given, expected):
    """Whether two shapes agree wherever both are known."""
    return len(given) == len(expected) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(given, expected)
    )


def in_words(shape):
    """A shape for a message, such as "(n, 3)"."""
    _, *rest = shape
    sizes = ["n", *("any" if size is None else str(size) for size in rest)]
    return f"({', '.join(sizes)}{',' * (not rest)})"
