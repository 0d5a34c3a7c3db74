"""DualNet (Hou et al., 2017)."""

import dataclasses
import functools

import keras

from keras_ffl.errors import InputError
from keras_ffl.fields import field
from keras_ffl.layers import FeatureSum
from keras_ffl.methods.frozen import keep_state
from keras_ffl.methods.fused_head import (
    FusedHead,
    check_head,
    fused_output,
)
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import Method, SeveralNetworks, check_one_name
from keras_ffl.methods.subnetworks import check_subnetworks
from keras_ffl.number_checks import check_bool, check_int, check_number

JOINT = "joint"
FEATURE_SUM = "feature_sum"


@keras.saving.register_keras_serializable(package="keras_ffl")
class DualNetModel(FusedHead, ParallelMethod):
    """Trains two networks and a classifier on the sum of their features.

        L = CE(y, z_f) + λ CE(y, z_1) + λ CE(y, z_2)

    with z_f from the pooled sum of the two feature maps. The model predicts
    with the weighted sum of its classifiers, the derived head "average":

        z_avg = z_f + λ z_1 + λ z_2

    **Iterative training**, for `iterative_epochs` epochs: the networks are
    updated in turn, one batch each, and the fused classifier with either. A
    network outside its turn stays unchanged: its weights, their momentum in
    the optimizer and its batch normalisation's moving averages. It still
    normalises with the statistics of the batch, so that its partner and the
    fused classifier see training features; moving averages of weights that
    change fast, as at the start, would mislead them.

    **Joint training**, after that: only the three classifiers are updated. The
    extractors are finished, and all networks run in inference mode (a dropout
    layer in a classifier too; a common preprocessing still draws). With
    `joint_extractors=True` everything is updated, as in ordinary training.

    The heads are `fused`, `sub_1`, `sub_2` and the derived "average". The
    cross-entropies `ce_<head>` are logged without λ.

    Args:
        subnetworks: Two functional models of the same architecture from one
            image shape to `{"features": (batch, h, w, C), "logits":
            (batch, classes)}` without shared weights. Features may also be
            tokens (batch, tokens, C) or vectors (batch, C).
        iterative_epochs: Int >= 0, epochs of iterative training.
        classifier_weight: Float >= 0, λ.
        joint_extractors: Bool, whether joint training updates the extractors
            too.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once, see
            `keras_ffl.methods.parallel.ParallelMethod`.
        task: As in `keras_ffl.FeatureFusionModel`.
        head: Keras layer, model or function from the summed features to the
            fused output, which has the shape of a sub-network's logits; None
            for global average pooling and a dense layer. It must belong to
            this model alone. A function becomes a nested model and is saved
            as such, with the layers that it made or used.

    Raises:
        InputError: There are not two sub-networks, they don't fit together,
            differ in architecture or share weights, an option is out of
            range, or `head` is no layer or function or gives another shape.

    Reference:
        Hou et al., 2017, "DualNet: Learn Complementary Features for Image
        Recognition", ICCV; equation (7) of Kim et al., 2019,
        https://arxiv.org/abs/1904.09058.
    """

    primary_head = "average"
    derived_head_names = ("average",)
    shares_nothing = True
    partial_updates = True
    turns = ("sub_1", "sub_2", JOINT)

    def __init__(
        self,
        subnetworks,
        iterative_epochs,
        classifier_weight=0.3,
        joint_extractors=False,
        name="dualnet_model",
        *,
        preprocessing=None,
        head=None,
        task=None,
    ):
        head_name = check_head(head)
        _check_pair(subnetworks, task)
        iterative_epochs = check_int("iterative_epochs", iterative_epochs, 0)
        check_number("classifier_weight", classifier_weight)
        super().__init__(
            subnetworks,
            name=name,
            preprocessing=preprocessing,
            task=task,
            more_logits=functools.partial(_fused_logits, head),
        )
        self._fused_head_name = head_name
        # Ids instead of variables, which Keras would count twice.
        self._extractor_ids = frozenset().union(
            *(_extractor_ids(network) for network in subnetworks)
        )
        self.iterative_epochs = iterative_epochs
        self.classifier_weight = float(classifier_weight)
        self.joint_extractors = check_bool("joint_extractors", joint_extractors)

    # ----- heads and loss ------------------------------------------------

    def feature_maps(self):
        """The last feature maps, a dict from head to `keras.KerasTensor`."""
        fused = self.get_layer(FEATURE_SUM).output
        return {"fused": fused, **super().feature_maps()}

    def derived_heads(self, logits):
        """The weighted sum of the classifiers' logits, eq. (7)."""
        subs = sum(self.sub_logits(logits))
        total = logits["fused"] + self.classifier_weight * subs
        if self.task.activation is None:
            # Of logits the sum predicts the same; of numbers only the mean.
            total = total / (1 + 2 * self.classifier_weight)
        return {"average": total}

    @property
    def supervised_weights(self):
        """λ for the sub-networks' cross-entropies."""
        return {
            self.loss_term(head): self.classifier_weight
            for head in ("sub_1", "sub_2")
        }

    # ----- training ------------------------------------------------------

    def turn_number(self, steps, epochs):
        """The turn of the next step, an index into `turns`.

        The networks alternate in iterative training; "joint" follows.

        Args:
            steps: Int or scalar tensor, number of finished steps.
            epochs: Int or scalar tensor, number of finished epochs.
        """
        joint = epochs >= self.iterative_epochs
        return joint * 2 + (1 - joint * 1) * (steps % 2)

    def compile(self, *args, **kwargs):
        """As in `TrainingMethod`.

        Raises:
            InputError: As there, or `steps_per_execution` is not 1.
        """
        steps = kwargs.get("steps_per_execution", 1)
        if steps != 1:
            raise InputError(
                "`steps_per_execution` must be 1 for DualNetModel, whose "
                f"networks take turns between executions, got {steps!r}"
            )
        super().compile(*args, **kwargs)

    def pass_of_step(self, x):
        """The forward pass of a step for the network whose turn it is."""
        turn = self.turn
        variables = self.variables_of(turn)
        if turn == JOINT:
            # In inference mode it would draw nothing.
            x, prepared = self.prepare(x)
            network = keras.Model(prepared, self.output, name="joint_network")
            return self.forward_pass(
                network, x, variables, training=self.joint_extractors
            )
        # Restores the partner's state; its weights get no update.
        partner = "sub_2" if turn == "sub_1" else "sub_1"
        with keep_state(self.classifier(partner)):
            return self.forward_pass(self, x, variables)

    def variables_of(self, turn):
        """The trainable variables that are updated in a turn, a list.

        Args:
            turn: "sub_1", "sub_2" or "joint".
        """
        if turn != JOINT:
            fused = self.fused_head.trainable_variables
            return self.classifier(turn).trainable_variables + fused
        return [
            variable
            for variable in self.trainable_variables
            if self.joint_extractors or id(variable) not in self._extractor_ids
        ]

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        return {
            **super().get_config(),
            "iterative_epochs": self.iterative_epochs,
            "classifier_weight": self.classifier_weight,
            "joint_extractors": self.joint_extractors,
        }


def _extractor_ids(network):
    """The ids of the weights that a network's feature map depends on."""
    features = network.output["features"]
    ids = {id(w) for w in keras.Model(network.input, features).weights}
    for layer in network.layers:
        # A loaded network is one layer that includes the classifier.
        if isinstance(layer, keras.Model) and isinstance(layer.output, dict):
            ids -= {id(w) for w in layer.weights} - _extractor_ids(layer)
    return ids


def _fused_logits(head, image, networks):
    """The output of a head for the sum of the feature maps."""
    maps = [network["features"] for network in networks]
    dtype = keras.backend.result_type(*(each.dtype for each in maps))
    total = FeatureSum(dtype=dtype, name=FEATURE_SUM)(maps)
    return {"fused": fused_output(total, head, networks[0]["logits"])}


def _check_pair(subnetworks, task):
    """Raises `InputError` unless these are two equal architectures."""
    check_subnetworks(subnetworks, task=task)
    if len(subnetworks) > 2:
        raise InputError(
            "`subnetworks` of DualNetModel must be two models, got "
            f"{len(subnetworks)}"
        )
    shapes = [
        [tuple(t.shape) for t in (net.output["features"], *net.weights)]
        for net in subnetworks
    ]
    if shapes[0] != shapes[1]:
        raise InputError(
            "`subnetworks` of DualNetModel must be of one architecture, got "
            f"{subnetworks[0].name} and {subnetworks[1].name}, whose weights "
            "or feature maps differ in shape"
        )


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DualNetOptions(SeveralNetworks):
    """Options of DualNet, in addition to those of `SeveralNetworks`.

    Attributes:
        joint_epochs: Number of final epochs with joint training; None for the
            paper's fraction, 51 of 307.
        joint_extractors: Whether joint training updates the extractors too.
        classifier_weight: λ of the sub-networks' classifiers.
    """

    joint_epochs: int | None = field(None, 0)
    joint_extractors: bool = field(False)
    classifier_weight: float = field(0.3, 0, 1e3)

    def idle(self, networks):
        reasons = super().idle(networks)
        if self.joint_epochs == 0:
            reasons["joint_extractors"] = "where `joint_epochs` is 0"
        return reasons

    def check(self, method, config):
        check_one_name(method, config)
        if self.branches != 2:
            raise InputError(
                f"`branches` must be 2 for method {method}, got {self.branches}"
            )
        if (self.joint_epochs or 0) > config.epochs:
            raise InputError(
                f"`joint_epochs` must be at most `epochs`, {config.epochs}, "
                f"got {self.joint_epochs}"
            )


def _build(subnetworks, config):
    options = config.options
    joint = options.joint_epochs
    if joint is None:
        joint = round(config.epochs * 51 / 307)
    return DualNetModel(
        subnetworks,
        iterative_epochs=config.epochs - joint,
        classifier_weight=options.classifier_weight,
        joint_extractors=options.joint_extractors,
    )


METHOD = Method(
    DualNetModel,
    "DualNet",
    DualNetOptions,
    _build,
    fixed_epochs="when DualNet's joint training begins",
)
