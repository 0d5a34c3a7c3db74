"""The base of all training methods: named loss terms and the ramp-up."""

import functools
import inspect
import types

import keras
import numpy as np
from keras import ops

from keras_ffl.callbacks import counting_epochs
from keras_ffl.errors import InputError, first_line
from keras_ffl.methods.cautions import no_cautions
from keras_ffl.methods.compiled import CompiledModel
from keras_ffl.methods.distilling import Distilling
from keras_ffl.methods.left_out import LeftOut
from keras_ffl.methods.subnetworks import freeze_preprocessing
from keras_ffl.methods.terms import weighted_mean, with_regularization
from keras_ffl.models.graph import (
    adapted_of,
    frozen_of,
    set_adapted,
    set_frozen,
)
from keras_ffl.number_checks import check_number
from keras_ffl.schedules import rampup_weight
from keras_ffl.tasks import task_config

# Samples of a batch that shows which terms there are: unlike most numbers of
# classes, so that a sum over the wrong axis shows, too.
_MADE_UP = 7


@functools.cache
def _options(method):
    methods = [m for m in method.__mro__ if issubclass(m, TrainingMethod)]
    arguments = [inspect.signature(m.__init__).parameters for m in methods]
    return {"supervised_weights"}.union(*arguments)


class TrainingMethod(Distilling, CompiledModel):
    """Base of the training methods: a functional model with several heads.

    A method is a functional Keras model from an image to a dict of logits by
    head. It defines its loss terms; this class weights, sums and logs them, in
    training and evaluation alike, and gives every head its metrics.

    Subclasses implement:

    * `supervised_terms(y, logits)`: dict from name to a per-sample tensor
      (batch,), the terms against the labels; by default the task's loss of
      every trained head.
    * `distillation_terms(y, logits)`: dict of the terms that are multiplied
      by the ramp-up's weight in training; none by default. `divergence`
      computes them as the constructor told `set_distillation`.
    * `derived_heads(logits)` and `derived_head_names`, as in `HeadedModel`.
    * `supervised_weights`: dict from name to the factor of a supervised term
      in the loss; 1 for terms that are not listed.
    * `primary_head`: name of the head that represents the method.
    * `get_config`, with the constructor's arguments by name.

    A training step, on both backends:

        fit -> train_function           calls the compiled step for each batch
          train_step                    the backend's: unpacks the batch
            training_step               the method's: one update or several
              forward_pass              runs a network and records gradients
              update                    updates the variables of that pass with
                compute_loss            the replica's share of a loss
                  supervised_terms
                  distillation_terms
                  sum_terms             weights, sums and logs the terms
              compute_metrics           updates the metrics of all heads

    `evaluate` goes through `test_step` to `evaluation_step`, which calls the
    model, `compute_loss` and `compute_metrics`. `train_step` and `test_step`
    come from `keras_ffl.backend.MethodModel`. A method whose networks take
    turns overrides `training_step`, builds it from `forward_pass` and
    `sum_terms`, and sets `partial_updates`.

    Args:
        image, logits, networks, task: As in `HeadedModel`.
        rampup_epochs: Int or float >= 0, length of the ramp-up of the
            distillation terms in epochs; 0 for weight 1 throughout.
        name: Name of the model.

    Attributes:
        epochs_trained: Non-trainable variable, the number of finished
            epochs. It drives the ramp-up, is updated by `fit`, and is saved
            and restored with the model. Without `fit`, call
            `model.epochs_trained.assign_add(1)` after each epoch of
            `train_on_batch`.
        teacher_heads: Names of the heads that teach and learn from no labels,
            a tuple.

    Raises:
        InputError: `rampup_epochs` is not a number >= 0, or a head's output
            doesn't fit the task.
    """

    supervised_weights = types.MappingProxyType({})
    teacher_heads = ()

    def __init__(
        self,
        image,
        logits,
        networks=None,
        rampup_epochs=0,
        name=None,
        task=None,
    ):
        check_number("rampup_epochs", rampup_epochs)
        super().__init__(image, logits, networks, name=name, task=task)
        self.rampup_epochs = rampup_epochs
        self.epochs_trained = self.add_weight(
            name="epochs_trained",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    @property
    def trainable(self):
        """As in Keras; a common preprocessing stays frozen."""
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        keras.Model.trainable.fset(self, value)
        freeze_preprocessing(self)

    @functools.cached_property
    def adapters(self):
        """An attribute that Keras saves and loads with the model.

        It holds random states and LoRA's weights.
        """
        return LeftOut(self)

    def __setattr__(self, name, value):
        """As in Keras; another value of an option applies from the next step.

        Without this, steps traced before would go on with the old one.
        """
        known = vars(self)
        changed = name in _options(type(self)) and not np.array_equal(
            known.get(name), value
        )
        super().__setattr__(name, value)
        if changed and known.get("train_function"):
            self.make_train_function(force=True)
        if changed and known.get("test_function"):
            self.make_test_function(force=True)

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
        adapted = config.pop("adapted", [])
        frozen = config.pop("frozen", None)
        with no_cautions():
            model = cls(**config)
        set_adapted(model, adapted)
        if frozen is not None:
            set_frozen(model, frozen)
        return model

    def get_config(self):
        return {
            "name": self.name,
            "adapted": adapted_of(self),
            "frozen": frozen_of(self),
            **task_config(self.task),
        }

    # ----- loss ----------------------------------------------------------

    def supervised_terms(self, y, logits):
        """Loss terms that need labels, dict from name to (batch,) tensor."""
        return {
            self.loss_term(head): self.task.loss(y, logits[head])
            for head in self.trained_heads
            if head not in self.teacher_heads
        }

    def loss_term(self, head):
        """The name of a head's supervised term, such as "ce_fused"."""
        return f"{self.task.loss_name}_{head}"

    def distillation_terms(self, y, logits):
        """Loss terms under the ramp-up, dict from name to (batch,) tensor."""
        return {}

    def compute_loss(
        self,
        x=None,
        y=None,
        y_pred=None,
        sample_weight=None,
        training=True,
        losses=None,
    ):
        """Sums the named terms, with the ramp-up applied in training.

        Adds regularisation losses and logs every term without the ramp-up's
        weight.

        Args:
            x: Image batch (not used).
            y: Labels of the task.
            y_pred: Dict from head to its outputs.
            sample_weight: Optional weights (batch,), which apply to all terms
                of a sample.
            training: Bool. In evaluation the distillation's weight is 1.
            losses: List of regularisation losses, None for the model's.

        Returns:
            Scalar tensor, the mean over this replica's samples.
        """
        batch_size = ops.shape(y)[0]
        total = self.sum_terms(
            self.supervised_terms(y, y_pred),
            self.distillation_terms(y, y_pred),
            batch_size,
            sample_weight,
            training,
        )
        total = with_regularization(
            total, self.losses if losses is None else losses
        )
        self.log_loss(total, batch_size)
        return total

    def sum_terms(
        self, supervised, distillation, batch_size, sample_weight, training
    ):
        """Weights and sums named terms, and logs each without its weight.

        Args:
            supervised: Dict from name to (batch,) tensor.
            distillation: The same for the terms under the ramp-up.
            batch_size: Int or scalar tensor.
            sample_weight: Optional weights (batch,).
            training: Bool. In evaluation the distillation's weight is 1.

        Returns:
            Scalar tensor, the mean over this replica's samples.
        """
        weight = ops.ones((), "float32")
        if training:
            weight = rampup_weight(self.epochs_trained, self.rampup_epochs)
        total = 0.0
        for name, values in supervised.items():
            mean = weighted_mean(values, sample_weight)
            self.log_term(name, mean, batch_size)
            total = total + self.supervised_weights.get(name, 1.0) * mean
        for name, values in distillation.items():
            mean = weighted_mean(values, sample_weight)
            self.log_term(name, mean, batch_size)
            total = total + ops.cast(weight, mean.dtype) * mean
        if distillation:
            self.log_term("distillation_weight", weight, batch_size)
        return total

    @property
    def loss_terms(self):
        """Names of the loss terms, a list."""
        supervised, distillation = self._named_terms()
        return [*supervised, *distillation]

    @property
    def logged_terms(self):
        """Names of the values logged besides loss and metrics, a list."""
        _, distillation = self._named_terms()
        weight = ["distillation_weight"] if distillation else []
        return [*self.loss_terms, *weight]

    def _named_terms(self):
        """The supervised and distillation terms of a small batch.

        Raises:
            InputError: A term isn't one number per sample, or a weight is
                given for a term that doesn't exist.
        """
        errors = []
        for labels, logits in self._made_up_batches():
            try:
                supervised = self.supervised_terms(labels, logits)
                distillation = self.distillation_terms(labels, logits)
                self._check_terms(supervised, distillation)
                return supervised, distillation
            # Terms may be written for one kind of labels, and functions of a
            # backend take no KerasTensors.
            except Exception as error:
                errors.append(error)
        # What `_check_terms` says, or the terms themselves of arrays.
        wrong = [each for each in errors if isinstance(each, InputError)]
        error = (wrong or errors[1:])[0]
        error.add_note(f"For integer labels: {first_line(errors[-1])}")
        raise error

    def _made_up_batches(self):
        """Yields labels and logits, as KerasTensors and then as zeros."""
        # Of an unknown size any will do.
        shape = (_MADE_UP, *(size or 1 for size in self.head_shape[1:]))
        logits = dict.fromkeys(self.trained_heads, keras.KerasTensor(shape))
        for name, each in self._step_outputs.items():
            sizes = (_MADE_UP, *(size or 1 for size in each.shape[1:]))
            logits.setdefault(name, keras.KerasTensor(sizes))
        rows = (_MADE_UP, *self.task.label_shape(shape)[1:])
        kinds = [(rows, "float32"), (rows, "int32")]
        if self.task.counts_classes:
            kinds.append(((_MADE_UP,), "int32"))
        for kind in kinds:
            batch = keras.KerasTensor(*kind), logits
            yield batch
            yield keras.tree.map_structure(
                lambda each: ops.zeros(each.shape, each.dtype), batch
            )

    def _check_terms(self, supervised, distillation):
        for name in self.supervised_weights:
            if name not in supervised:
                raise InputError(
                    f"`supervised_weights` of {type(self).__name__} must be "
                    f"for terms, {', '.join(supervised)}, got one for {name!r}"
                )
        for name, term in (supervised | distillation).items():
            if tuple(term.shape) not in ((_MADE_UP,), (None,)):
                raise InputError(
                    f"`{name}` of {type(self).__name__} must be one number for "
                    f"each sample, (batch,), got shape {tuple(term.shape)} "
                    f"for a batch of {_MADE_UP}"
                )

    # ----- training ------------------------------------------------------

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        **kwargs,
    ):
        """`keras.Model.fit` that also drives the ramp-up.

        Raises:
            InputError: Images, labels or weights are invalid.
        """
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=counting_epochs(callbacks, self),
            validation_split=validation_split,
            validation_data=validation_data,
            **kwargs,
        )

    def training_step(self, x, y, sample_weight):
        """One update of the variables that `pass_of_step` names.

        Args:
            x: Image batch.
            y: Labels.
            sample_weight: Weights (batch,) or None.

        Returns:
            Dict of the running means of metrics and loss terms.
        """
        forward = self.pass_of_step(x)
        forward.update(
            lambda logits, losses: self.compute_loss(
                x, y, logits, sample_weight, losses=losses
            )
        )
        return self.compute_metrics(x, y, forward.outputs, sample_weight)

    def pass_of_step(self, x):
        """The forward pass of a step, here one for all trainable variables."""
        network = self.network_of_step()
        return self.forward_pass(network, x, self.trainable_variables)

    def evaluation_step(self, x, y, sample_weight):
        """Loss and metrics of one batch, with distillation weight 1.

        Arguments and result are those of `training_step`.
        """
        logits = self.network_of_step()(x, training=False)
        self.compute_loss(x, y, logits, sample_weight, training=False)
        return self.compute_metrics(x, y, logits, sample_weight)
