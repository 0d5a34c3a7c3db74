"""The base of methods that train several sub-networks side by side."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.methods.base import TrainingMethod
from keras_ffl.methods.cautions import (
    warn_of_equal_weights,
    warn_of_separate_draws,
)
from keras_ffl.methods.mean_teachers import MeanTeachers, mean_teachers
from keras_ffl.methods.subnetworks import (
    check_subnetworks,
    connect,
    prepared_image,
)
from keras_ffl.methods.views import Views
from keras_ffl.models import build, build_branches
from keras_ffl.models.graph import layers_within


class ParallelMethod(Views, MeanTeachers, TrainingMethod):
    """Base of the methods with heads `sub_1`, ..., `sub_n`.

    It keeps the sub-networks and their feature maps, and has the derived head
    "ensemble", the mean of the sub-networks' logits. Constructors of subclasses
    take the list of sub-networks as `subnetworks`; `get_config` returns them
    and the name, and subclasses add their own arguments.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`.
        rampup_epochs: As in `TrainingMethod`.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, as in `keras_ffl.as_subnetwork`, or None. It
            runs once, so that a random layer draws once and all sub-networks
            see the same image. It is copied and frozen, and part of every
            head.
        more_logits: Function from the image and the list of the
            sub-networks' outputs to a dict from name to the logits of further
            heads, which come first; None if there are none.
        with_teachers: Bool, whether every sub-network has a mean teacher, see
            `keras_ffl.methods.mean_teachers.MeanTeachers`.
        task: As in `HeadedModel`.

    Attributes:
        shares_nothing: Bool, whether the sub-networks may only share frozen
            weights.
        fewest: Int, the minimum number of sub-networks.

    Raises:
        InputError: The sub-networks don't fit together, or share weights
            although they must not.
    """

    primary_head = "ensemble"
    derived_head_names = ("ensemble",)
    shares_nothing = False
    fewest = 2

    def __init__(
        self,
        subnetworks,
        rampup_epochs=0,
        name=None,
        *,
        preprocessing=None,
        more_logits=None,
        with_teachers=False,
        task=None,
    ):
        check_subnetworks(subnetworks, self.fewest, task)
        if self.shares_nothing:
            self._check_apart(subnetworks)
        image, outputs = connect(subnetworks, preprocessing)
        logits = more_logits(image, outputs) if more_logits else {}
        networks = dict(zip(self.network_heads(len(outputs)), outputs))
        teachers = mean_teachers(image, outputs) if with_teachers else {}
        logits |= {
            head: each["logits"] for head, each in (networks | teachers).items()
        }
        super().__init__(image, logits, networks, rampup_epochs, name, task)
        self.keep_teachers(teachers)
        warn_of_equal_weights(self.subnetworks)
        warn_of_separate_draws(self.subnetworks)

    def _check_apart(self, subnetworks):
        weights = [w for network in subnetworks for w in _free_ids(network)]
        if len(set(weights)) < len(weights):
            raise InputError(
                f"`subnetworks` of {type(self).__name__} must share no "
                "weights, got networks that do; build each separately"
            )

    @classmethod
    def from_branches(
        cls,
        name,
        branches=2,
        *,
        num_classes,
        input_shape=(32, 32, 3),
        separate_stages=1,
        **options,
    ):
        """Builds branches of one architecture on a shared trunk (case 1).

        Args:
            name: Network name of `keras_ffl.models.build`.
            branches: Int >= 2, number of sub-networks.
            num_classes: Int >= 1 (>= 2 for classification).
            input_shape: Image shape (h, w, c).
            separate_stages: Int >= 1, number of the last stages that every
                branch has separately.
            **options: Further arguments of the class.

        Returns:
            A model of the class.

        Raises:
            InputError: As in the class and in
                `keras_ffl.models.build_branches`.
        """
        subnetworks = build_branches(
            name, branches, num_classes, input_shape, separate_stages
        )
        return cls(subnetworks, **options)

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
        """Builds networks of one architecture, each with its own weights.

        Args:
            name: Network name of `keras_ffl.models.build`.
            count: Int >= 2, number of sub-networks.
            num_classes: Int >= 1 (>= 2 for classification).
            input_shape: Image shape (h, w, c).
            **options: Further arguments of the class.

        Returns:
            A model of the class.

        Raises:
            InputError: As in the class and in `keras_ffl.models.build`.
        """
        subnetworks = [
            build(name, num_classes, input_shape) for _ in range(count)
        ]
        return cls(subnetworks, **options)

    @staticmethod
    def network_heads(count):
        """The heads of so many sub-networks, a list."""
        return [f"sub_{k}" for k in range(1, count + 1)]

    @property
    def sub_heads(self):
        """The heads of the sub-networks whose mean is the ensemble, a list."""
        return list(self._networks)

    @property
    def branches(self):
        """Number of sub-networks, an int."""
        return len(self._networks)

    def prepare(self, x):
        """Runs the preprocessing before all sub-networks for a training step.

        Args:
            x: Image batch.

        Returns:
            Tuple of the sub-networks' input batch and the `keras.KerasTensor`
            of the model's graph that it is a value of.
        """
        prepared = prepared_image(self)
        if prepared is not self.input:
            preparation = keras.Model(self.input, prepared, name="preparation")
            x = preparation(x, training=True)
        return x, prepared

    def apart(self, x):
        """The individual sub-networks, ready for a training step.

        A preprocessing before them runs here, once, so that all of them get
        the same image however often each is called.

        Args:
            x: Image batch.

        Returns:
            Tuple of their input batch and a dict from head to a functional
            `keras.Model` from it to logits.
        """
        x, prepared = self.prepare(x)
        return x, {
            head: keras.Model(prepared, logits, name=f"{head}_network")
            for head, logits in self.output.items()
        }

    def sub_logits(self, logits):
        """The sub-networks' logits in order, a list."""
        return [logits[head] for head in self.sub_heads]

    def mutual_term(self, y, logits, head):
        """The mean divergence of a network from its peers, (batch,) tensor."""
        peers = [peer for peer in self.sub_heads if peer != head]
        return sum(
            self.divergence(y, logits[peer], logits[head]) for peer in peers
        ) / len(peers)

    def derived_heads(self, logits):
        """The ensemble: the task's average of the sub-networks' outputs."""
        return {"ensemble": self.task.average(self.sub_logits(logits))}

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        # A single model keeps shared layers shared.
        networks = keras.Model(self.input, list(self._networks.values()))
        return {
            **super().get_config(),
            "networks": keras.saving.serialize_keras_object(networks),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        networks = keras.saving.deserialize_keras_object(
            config.pop("networks"), custom_objects=custom_objects
        )
        config["subnetworks"] = [
            keras.Model(networks.input, outputs) for outputs in networks.output
        ]
        return super().from_config(config, custom_objects)


def _free_ids(network):
    """The ids of the weights outside of frozen layers."""
    frozen = {
        id(weight)
        for layer in layers_within(network)
        if not layer.trainable
        for weight in layer.weights
    }
    return {id(weight) for weight in network.weights} - frozen
