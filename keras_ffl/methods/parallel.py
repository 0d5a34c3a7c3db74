"""What the methods share that train several sub-networks side by side."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.cautions import (
    no_cautions,
    warn_of_equal_weights,
    warn_of_separate_draws,
)
from keras_ffl.methods.subnetworks import (
    check_subnetworks,
    connect,
    logits_head,
    prepared_image,
)
from keras_ffl.methods.terms import cross_entropy
from keras_ffl.models import build, build_branches
from keras_ffl.models.graph import layers_within


class ParallelMethod(TrainingMethod):
    """Base of the methods with heads `sub_1`, ..., `sub_n`.

    Keeps the sub-networks and their feature maps, gives every trained head
    its cross-entropy, and knows the derived head "ensemble", the mean of the
    sub-networks' logits. A subclass saves its sub-networks by
    `networks_config` under the key "networks"; its constructor takes them as
    its first argument.

    Args:
        image: `keras.KerasTensor` of the image.
        networks: List of the outputs of n sub-networks on that image, each a
            dict of "features" (batch, h, w, C) and "logits"
            (batch, classes).
        heads: Dict from name to the logits of further heads; they come
            first.
        rampup_epochs: As of `TrainingMethod`.
        name: Name of the model.
    """

    primary_head = "ensemble"
    derived_head_names = ("ensemble",)

    def __init__(self, image, networks, heads=None, rampup_epochs=0, name=None):
        logits = {
            **(heads or {}),
            **{
                f"sub_{k}": network["logits"]
                for k, network in enumerate(networks, start=1)
            },
        }
        outputs = {
            head: logits_head(values, head) for head, values in logits.items()
        }
        super().__init__(image, outputs, rampup_epochs, name=name)
        self._networks_outputs = networks
        subnetworks = self.subnetworks
        warn_of_equal_weights(subnetworks)
        warn_of_separate_draws(subnetworks)

    @property
    def branches(self):
        """Number of sub-networks, an int."""
        return len(self._networks_outputs)

    @property
    def subnetworks(self):
        """The sub-networks as functional models that share the weights."""
        return [
            keras.Model(self.input, outputs, name=f"sub_{k}_network")
            for k, outputs in enumerate(self._networks_outputs, start=1)
        ]

    def apart(self, x):
        """The sub-networks by themselves, ready for a training step.

        What they have before them runs here, once, so that all of them get
        the same image however often each is called.

        Args:
            x: Image batch.

        Returns:
            Tuple of the batch that they take and a dict from head to
            functional `keras.Model` from it to logits.
        """
        prepared = prepared_image(self)
        if prepared is not self.input:
            x = keras.Model(self.input, prepared)(x, training=True)
        return x, {
            head: keras.Model(prepared, logits, name=f"{head}_network")
            for head, logits in self.output.items()
        }

    def feature_maps(self):
        """The last feature maps, a dict from head to `keras.KerasTensor`."""
        return {
            f"sub_{k}": outputs["features"]
            for k, outputs in enumerate(self._networks_outputs, start=1)
        }

    def feature_extractor(self, head):
        """A plain functional model of one feature map, sharing the weights.

        Args:
            head: A key of `feature_maps`.

        Returns:
            `keras.Model` from the image to the feature map (batch, h, w, C)
            that the head's classifier pools.

        Raises:
            InputError: The head has no feature map.
        """
        maps = self.feature_maps()
        self.check_head(head, tuple(maps))
        return keras.Model(self.input, maps[head], name=f"{head}_features")

    def sub_logits(self, logits):
        """The sub-networks' logits in order, a list."""
        return [logits[f"sub_{k}"] for k in range(1, self.branches + 1)]

    def derived_heads(self, logits):
        """The ensemble: the mean of the sub-networks' logits."""
        return {"ensemble": sum(self.sub_logits(logits)) / self.branches}

    def supervised_terms(self, y, logits):
        """Cross-entropy of every trained head."""
        return {
            f"ce_{head}": cross_entropy(y, logits[head])
            for head in self.trained_heads
        }

    # ----- serialisation -------------------------------------------------

    def networks_config(self):
        """The sub-networks as one functional model, serialised.

        One model, so that what they share stays shared.
        """
        networks = keras.Model(self.input, list(self._networks_outputs))
        return keras.saving.serialize_keras_object(networks)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {
            key: keras.saving.deserialize_keras_object(
                value, custom_objects=custom_objects
            )
            if isinstance(value, dict) and "class_name" in value
            else value
            for key, value in config.items()
        }
        networks = config.pop("networks")
        subnetworks = [
            keras.Model(networks.input, outputs) for outputs in networks.output
        ]
        with no_cautions():
            return cls(subnetworks, **config)


class BranchedMethod(ParallelMethod):
    """Base of the methods whose sub-networks may share a trunk.

    The constructor takes the sub-networks and `rampup_epochs` first.
    """

    @classmethod
    def from_branches(
        cls,
        name,
        branches=2,
        *,
        num_classes,
        rampup_epochs,
        input_shape=(32, 32, 3),
        separate_stages=1,
        **options,
    ):
        """Case 1: branches of one architecture on a shared trunk.

        Args:
            name: Network name of `keras_ffl.models.build`.
            branches: Int >= 2, number of sub-networks.
            num_classes: Int >= 2.
            rampup_epochs: As of the class.
            input_shape: Image shape (h, w, c).
            separate_stages: Int >= 1, how many of the last stages every
                branch has for itself.
            **options: Further arguments of the class.

        Returns:
            A model of the class.

        Raises:
            InputError: As of the class and of
                `keras_ffl.models.build_branches`.
        """
        subnetworks = build_branches(
            name, branches, num_classes, input_shape, separate_stages
        )
        return cls(subnetworks, rampup_epochs, **options)


class IndependentMethod(ParallelMethod):
    """Base of the methods whose sub-networks share no weight but frozen ones.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`.
        heads: Function from the list of the networks' outputs on one image
            to a dict of further heads, or None.
        rampup_epochs: As of `TrainingMethod`.
        name: Name of the model.
        preprocessing: As of `keras_ffl.methods.subnetworks.connect`.

    Raises:
        InputError: The sub-networks don't fit together or share weights.
    """

    def __init__(
        self,
        subnetworks,
        heads=None,
        rampup_epochs=0,
        name=None,
        *,
        preprocessing=None,
    ):
        check_subnetworks(subnetworks, minimum=2)
        weights = [w for network in subnetworks for w in _free_ids(network)]
        if len(set(weights)) < len(weights):
            raise InputError(
                f"`subnetworks` of {type(self).__name__} must share no "
                "weights, got networks that do; build each anew"
            )
        image, networks = connect(subnetworks, preprocessing)
        super().__init__(
            image, networks, heads and heads(networks), rampup_epochs, name
        )

    @classmethod
    def from_copies(
        cls,
        name,
        count=2,
        *,
        num_classes,
        input_shape=(32, 32, 3),
        **options,
    ):
        """Networks of one architecture, each with weights of its own.

        Args:
            name: Network name of `keras_ffl.models.build`.
            count: Int >= 2, number of networks.
            num_classes: Int >= 2.
            input_shape: Image shape (h, w, c).
            **options: Further arguments of the class.

        Returns:
            A model of the class.

        Raises:
            InputError: As of the class and of `keras_ffl.models.build`.
        """
        return cls(
            [build(name, num_classes, input_shape) for _ in range(count)],
            **options,
        )


def _free_ids(network):
    """Ids of the weights that are not those of frozen layers."""
    frozen = {
        id(weight)
        for layer in layers_within(network)
        if not layer.trainable
        for weight in layer.weights
    }
    return {id(weight) for weight in network.weights} - frozen
