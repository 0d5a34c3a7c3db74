"""Deep Mutual Learning (Zhang et al., 2018)."""

import dataclasses

import keras
from keras import ops

from keras_ffl.fields import field
from keras_ffl.methods.frozen import keep_state
from keras_ffl.methods.parallel import ParallelMethod
from keras_ffl.methods.rows import (
    DistillationOptions,
    Method,
    SeveralNetworks,
)
from keras_ffl.methods.terms import with_regularization
from keras_ffl.number_checks import check_bool


@keras.saving.register_keras_serializable(package="keras_ffl")
class MutualLearningModel(ParallelMethod):
    """Trains networks that learn from each other's predictions (DML).

    Network k of n has the loss

        L_k = CE(y, z_k) + w(t) T²/(n - 1) sum_{j != k} KL(z_j -> z_k)

    In every training step the networks are updated one after the other.
    After its update a network predicts the batch again, and the networks
    after it learn from the new prediction. These predictions use the
    statistics of the batch, like everything in a training step, but leave the
    moving averages unchanged, so that each batch enters them once. The
    optimizer counts the updates of a batch as one (iterations, averages of
    the weights, a loss scale). A frozen network teaches the others; its terms
    are logged and part of the logged loss.

    The heads are `sub_1`, ..., `sub_n` and the derived "ensemble". `ce_sub_k`
    and `mutual_sub_k` (with T², without w) are logged.

    Args:
        subnetworks: List of n >= 2 functional models from one image shape to
            `{"features": (batch, h, w, C_k), "logits": (batch, classes)}`
            without shared weights. Architectures may differ.
        temperature: Float > 0, T; 1 in DML's own paper.
        rampup_epochs: Number >= 0, length R of the ramp-up of w in epochs; 0
            for w = 1 throughout, as in DML's own paper.
        simultaneous: Bool, whether all networks are updated at once, from the
            predictions before the step. This takes one forward pass per
            network instead of two for all but the last.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            all sub-networks, or None. It runs once, see
            `keras_ffl.methods.parallel.ParallelMethod`.
        task, distillation: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: The sub-networks don't fit together or share weights, or
            an option is out of range.

    Reference:
        Zhang et al., 2018, "Deep Mutual Learning",
        https://arxiv.org/abs/1706.00384, algorithm 1 and section 3.4.
    """

    shares_nothing = True

    def __init__(
        self,
        subnetworks,
        temperature=1.0,
        rampup_epochs=0,
        simultaneous=False,
        name="mutual_learning_model",
        *,
        preprocessing=None,
        task=None,
        distillation=None,
    ):
        super().__init__(
            subnetworks,
            rampup_epochs,
            name,
            preprocessing=preprocessing,
            task=task,
        )
        self.set_distillation(temperature, distillation)
        self.partial_updates = not check_bool("simultaneous", simultaneous)

    @property
    def simultaneous(self):
        """Bool, whether all networks are updated at once."""
        return not self.partial_updates

    # ----- loss ----------------------------------------------------------

    def distillation_terms(self, y, logits):
        """T² times the mean divergence from the peers, by network."""
        return {
            f"mutual_{head}": self.mutual_term(y, logits, head)
            for head in self.trained_heads
        }

    # ----- training ------------------------------------------------------

    def training_step(self, x, y, sample_weight):
        """One update of every network, one network after the other.

        The metrics use the predictions before the step. Arguments and result
        are as in `TrainingMethod`.
        """
        if self.simultaneous:
            return super().training_step(x, y, sample_weight)
        x, networks = self.apart(x)
        passes, before = {}, {}
        for head, network in networks.items():
            variables = network.trainable_variables
            if variables:
                passes[head] = self.forward_pass(network, x, variables)
                before[head] = passes[head].outputs
            else:
                before[head] = network(x, training=True)
        logits = dict(before)
        total = 0.0
        *_, last = networks
        with self.one_count() as count:
            for head, network in networks.items():
                loss_of = self._loss_of(head, logits, y, sample_weight)
                if head not in passes:
                    total += loss_of(before[head], network.losses)
                    continue
                total += passes[head].update(loss_of, count)
                if head != last:
                    with keep_state(network):
                        logits[head] = network(x, training=True)
        self.log_loss(total, ops.shape(y)[0])
        return self.compute_metrics(x, y, before, sample_weight)

    def _loss_of(self, head, logits, y, sample_weight):
        """The loss of a network as a function of its own predictions."""

        def loss_of(own_logits, losses):
            everyones = {**logits, head: own_logits}
            terms = self.sum_terms(
                {self.loss_term(head): self.task.loss(y, own_logits)},
                {f"mutual_{head}": self.mutual_term(y, everyones, head)},
                ops.shape(y)[0],
                sample_weight,
                training=True,
            )
            return with_regularization(terms, losses)

        return loss_of

    # ----- serialisation -------------------------------------------------

    def get_config(self):
        return {
            **super().get_config(),
            **self.distillation_config(),
            "rampup_epochs": self.rampup_epochs,
            "simultaneous": self.simultaneous,
        }


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MutualLearningOptions(DistillationOptions, SeveralNetworks):
    """Options of DML, in addition to those of its base classes.

    Attributes:
        simultaneous: Whether all networks are updated at once instead of one
            after the other.
    """

    temperature: float = field(1.0, 1e-3, 1e3)
    rampup_epochs: float = field(0.0, 0)
    simultaneous: bool = field(False)


def _build(subnetworks, config):
    options = config.options
    return MutualLearningModel(
        subnetworks,
        **options.distillation_arguments,
        simultaneous=options.simultaneous,
    )


METHOD = Method(MutualLearningModel, "DML", MutualLearningOptions, _build)
