"""Models with several heads, and the models extracted from them."""

import keras

from keras_ffl.backend import MethodModel
from keras_ffl.errors import InputError
from keras_ffl.methods.subnetworks import logits_heads
from keras_ffl.models.graph import reserve_names
from keras_ffl.tasks import checked_task


class HeadedModel(MethodModel):
    """A functional model from an image to a dict of outputs by head.

    Subclasses implement `derived_heads(logits)` and `derived_head_names`:
    further logits computed from the heads (such as an ensemble), and their
    names; none by default.

    Args:
        image: `keras.KerasTensor` of the image.
        logits: Dict from head to `keras.KerasTensor` (batch, classes), or of
            the shape that `task` takes.
        networks: Dict from head to its sub-network's outputs for the image, a
            dict of "features", (batch, h, w, C), (batch, tokens, C) or
            (batch, C), and "logits"; None if there are no sub-networks.
        name: Name of the model.
        task: `keras_ffl.tasks.Task`, None for `Classification()`.

    Raises:
        InputError: `task` is no task, a head's output doesn't fit it, or heads
            differ in shape.
    """

    derived_head_names = ()
    _step_outputs = {}

    def __init__(self, image, logits, networks=None, name=None, task=None):
        task = checked_task(task)
        for head, values in logits.items():
            task.check_output(f"head '{head}'", tuple(values.shape))
        if len({tuple(values.shape) for values in logits.values()}) > 1:
            shapes = {head: tuple(z.shape) for head, z in logits.items()}
            raise InputError(
                f"all heads must give outputs of one shape, got {shapes}"
            )
        super().__init__(image, logits_heads(logits), name=name)
        reserve_names(self)
        self._networks = networks or {}
        self.task = task

    @property
    def head_shape(self):
        """Shape of every head's output, a tuple that starts with None."""
        return tuple(self.output[self.trained_heads[0]].shape)

    @property
    def num_classes(self):
        """Number of classes (of labels or outputs in other tasks), an int."""
        return self.head_shape[-1]

    @property
    def trained_heads(self):
        """Names of the heads that are outputs of the model, a tuple."""
        return tuple(self.output)

    @property
    def heads(self):
        """Names of all heads, including derived ones, a tuple."""
        return (*self.trained_heads, *self.derived_head_names)

    def derived_heads(self, logits):
        """Logits computed from those of the trained heads."""
        return {}

    def network_of_step(self):
        """The functional model that steps call, with shared weights.

        Its outputs are what the loss takes: those of this model, which it is
        by default. Subclasses set `_step_outputs`, a dict from name to an
        output that is added, such as features, or replaces a head's.

        Returns:
            `keras.Model` from the image to a dict of outputs. (As a property
            it would be saved with the model.)
        """
        if not self._step_outputs:
            return self
        outputs = {**self.output, **self._step_outputs}
        return keras.Model(self.input, outputs, name="network_of_step")

    @property
    def subnetworks(self):
        """The sub-networks as functional models with shared weights."""
        return [
            keras.Model(self.input, outputs, name=f"{head}_network")
            for head, outputs in self._networks.items()
        ]

    def classifier(self, head):
        """A plain functional model of one head, with shared weights.

        Args:
            head: One of `heads`.

        Returns:
            `keras.Model` from the image (batch, h, w, c) to logits
            (batch, classes). It has only the layers that the head needs, and
            nested sub-networks as a whole.

        Raises:
            InputError: There is no such head.
        """
        self.check_head(head)
        if head in self.derived_head_names:
            logits = self.derived_heads(self.output)[head]
        else:
            logits = self.output[head]
        return keras.Model(self.input, logits, name=f"{head}_classifier")

    def feature_maps(self):
        """The last features, a dict from head to `keras.KerasTensor`.

        Heads without a feature map of their own are not included.
        """
        return {
            head: outputs["features"]
            for head, outputs in self._networks.items()
        }

    def feature_extractor(self, head):
        """A plain functional model of a head's features, shared weights.

        Args:
            head: A key of `feature_maps`.

        Returns:
            `keras.Model` from the image to the features that the head's
            classifier pools: a map (batch, h, w, C), tokens (batch, tokens,
            C) or a vector (batch, C).

        Raises:
            InputError: The head has no features of its own.
        """
        maps = self.feature_maps()
        self.check_head(head, tuple(maps))
        return keras.Model(self.input, maps[head], name=f"{head}_features")

    def check_head(self, head, known=None):
        """Checks the name of a head.

        Args:
            head: Str.
            known: Valid names, by default `heads`.

        Raises:
            InputError: There is no such head.
        """
        known = known or self.heads
        if head not in known:
            raise InputError(
                f"`head` must be one of {', '.join(known)}, got {head!r}"
            )
