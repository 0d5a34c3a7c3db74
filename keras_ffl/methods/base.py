"""What all training methods share: heads, named loss terms, the ramp-up."""

import functools

import keras
from keras import ops

from keras_ffl.backend import in_strategy, prefers_xla, share_of_replica
from keras_ffl.errors import InputError
from keras_ffl.methods.adapters import Adapters
from keras_ffl.methods.checked import CheckedModel
from keras_ffl.methods.metrics import (
    leave_out,
    metrics_by_head,
    not_rebuilt,
)
from keras_ffl.methods.terms import weighted_mean, with_regularization
from keras_ffl.models.checks import check_classes
from keras_ffl.optimizers import SGD
from keras_ffl.schedules import rampup_weight


class EpochCounter(keras.callbacks.Callback):
    """Keeps the model's own count of epochs while `fit` runs."""

    def on_epoch_begin(self, epoch, logs=None):
        # A later start (`initial_epoch`, a restored backup) moves the count
        # forward; a second `fit` goes on where the first one stopped.
        done = int(self.model.epochs_trained.numpy())
        self.model.epochs_trained.assign(max(done, epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.model.epochs_trained.assign_add(1)


class TrainingMethod(CheckedModel):
    """Base of the training methods: a functional model with several heads.

    A method is a functional Keras model from an image to a dict of logits by
    head. It says what its loss terms are; this class sums, weighs and logs
    them, in training and evaluation alike, and gives every head its metrics.

    To be implemented by subclasses:

    * `supervised_terms(y, logits)`: dict from name to a per-sample tensor
      (batch,), the terms that need labels.
    * `distillation_terms(logits)`: dict of the terms that are multiplied by
      the ramp-up's weight in training.
    * `derived_heads(logits)` and `derived_head_names`: further logits that
      are computed from the heads (an ensemble), and their names; none by
      default.
    * `supervised_weights`: dict from name to the factor of a supervised term
      in the loss; 1 for those that are not in it.
    * `primary_head`: name of the head that stands for the method.
    * `get_config`, `from_config`.

    A method whose networks take turns overrides `training_step` and sets
    `takes_turns`; `forward_pass` and `sum_terms` are the parts to build it
    from. The backend's `keras_ffl.backend.MethodModel` runs the steps.

    Args:
        inputs: `keras.KerasTensor` of the image.
        outputs: Dict from head to `keras.KerasTensor` of its logits.
        rampup_epochs: Int or float >= 0, length of the ramp-up of the
            distillation terms in epochs; 0 for weight 1 throughout.
        name: Name of the model.

    Attributes:
        epochs_trained: Non-trainable variable, the number of finished
            epochs. It drives the ramp-up, is kept up by `fit`, and is saved
            and restored with the model. Without `fit` it stays: call
            `model.epochs_trained.assign_add(1)` after each epoch of
            `train_on_batch`.

    Raises:
        InputError: `rampup_epochs` is no number >= 0, or a head has fewer
            than two classes.
    """

    derived_head_names = ()
    supervised_weights = {}
    takes_turns = False

    def __init__(self, inputs, outputs, rampup_epochs=0, name=None):
        if (
            isinstance(rampup_epochs, bool)
            or not isinstance(rampup_epochs, (int, float))
            or not 0 <= rampup_epochs < float("inf")
        ):
            raise InputError(
                f"`rampup_epochs` must be a number >= 0, got {rampup_epochs!r}"
            )
        for head, logits in outputs.items():
            check_classes(f"head '{head}'", logits)
        super().__init__(inputs, outputs, name=name)
        self.rampup_epochs = rampup_epochs
        self.epochs_trained = self.add_weight(
            name="epochs_trained",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self._term_trackers = {}

    @functools.cached_property
    def adapters(self):
        """What Keras finds when it saves or loads the model."""
        return Adapters(self)

    # ----- heads ---------------------------------------------------------

    @property
    def num_classes(self):
        """Number of classes, an int."""
        return self.output[self.trained_heads[0]].shape[-1]

    @property
    def trained_heads(self):
        """Names of the heads that are outputs of the model, a tuple."""
        return tuple(self.output)

    @property
    def heads(self):
        """Names of all heads, derived ones included, a tuple."""
        return (*self.trained_heads, *self.derived_head_names)

    def derived_heads(self, logits):
        """Logits that are computed from those of the trained heads."""
        return {}

    def feature_maps(self):
        """The last feature maps, a dict from head to `keras.KerasTensor`.

        Heads that pool no map of their own are not in it.
        """
        return {}

    def classifier(self, head):
        """A plain functional model of one head, sharing the weights.

        Args:
            head: One of `heads`.

        Returns:
            `keras.Model` from the image (batch, h, w, c) to logits
            (batch, classes). It holds only the layers that the head needs.

        Raises:
            InputError: There is no such head.
        """
        self.check_head(head)
        if head in self.derived_head_names:
            logits = self.derived_heads(self.output)[head]
        else:
            logits = self.output[head]
        return keras.Model(self.input, logits, name=f"{head}_classifier")

    def check_head(self, head, known=None):
        """Checks the name of a head.

        Args:
            head: Str.
            known: Names that will do, by default `heads`.

        Raises:
            InputError: It is none of them.
        """
        known = known or self.heads
        if head not in known:
            raise InputError(
                f"`head` must be one of {', '.join(known)}, got {head!r}"
            )

    # ----- loss ----------------------------------------------------------

    def supervised_terms(self, y, logits):
        """Loss terms that need labels, dict from name to (batch,) tensor."""
        raise NotImplementedError

    def distillation_terms(self, logits):
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
        """Sum of the named terms, the ramp-up applied in training.

        Regularisation losses are added. Every term is logged without the
        ramp-up's weight. Under a `tf.distribute` strategy the result is the
        replica's share: the shares of all replicas sum up to the mean over
        the global batch.

        Args:
            x: Image batch (not used).
            y: Labels: integers (batch,) or rows (batch, classes).
            y_pred: Dict from head to logits (batch, classes).
            sample_weight: Optional weights (batch,). They weigh all terms of
                a sample alike.
            training: Bool. In evaluation the distillation's weight is 1.
            losses: List of the regularisation losses, None for the model's.

        Returns:
            Scalar tensor.
        """
        batch_size = ops.shape(y)[0]
        total = self.sum_terms(
            self.supervised_terms(y, y_pred),
            self.distillation_terms(y_pred),
            batch_size,
            sample_weight,
            training,
        )
        total = with_regularization(
            total, self.losses if losses is None else losses
        )
        self.track_loss(total, batch_size)
        return share_of_replica(total, batch_size)

    def sum_terms(
        self, supervised, distillation, batch_size, sample_weight, training
    ):
        """Weighs named terms, adds them up and logs each without its weight.

        Args:
            supervised: Dict from name to (batch,) tensor.
            distillation: Likewise, the terms under the ramp-up.
            batch_size: Int or scalar tensor.
            sample_weight: Optional weights (batch,).
            training: Bool. In evaluation the distillation's weight is 1.

        Returns:
            Scalar tensor.
        """
        weight = (
            rampup_weight(self.epochs_trained, self.rampup_epochs)
            if training
            else ops.ones((), "float32")
        )
        total = 0.0
        for name, values in supervised.items():
            mean = weighted_mean(values, sample_weight)
            self._track(name, mean, batch_size)
            total = total + self.supervised_weights.get(name, 1.0) * mean
        for name, values in distillation.items():
            mean = weighted_mean(values, sample_weight)
            self._track(name, mean, batch_size)
            total = total + ops.cast(weight, mean.dtype) * mean
        if distillation:
            self._track("distillation_weight", weight, batch_size)
        return total

    def _track(self, name, value, batch_size):
        self._term_trackers[name].update_state(value, sample_weight=batch_size)

    @property
    def loss_terms(self):
        """Names of the loss terms, a list."""
        supervised, distillation = self._named_terms()
        return [*supervised, *distillation]

    def _named_terms(self):
        """The supervised terms and those of distillation, symbolic."""
        classes = self.num_classes
        logits = {
            head: keras.KerasTensor((1, classes)) for head in self.trained_heads
        }
        labels = keras.KerasTensor((1, classes))
        return (
            self.supervised_terms(labels, logits),
            self.distillation_terms(logits),
        )

    # ----- training ------------------------------------------------------

    def compile(
        self,
        optimizer=None,
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        jit_compile="auto",
        **kwargs,
    ):
        """Configures the model for training.

        Args:
            optimizer: A Keras optimizer or its name; None for
                `keras_ffl.optimizers.SGD()`, the paper's.
            loss: None; the loss is the method's own.
            loss_weights: None, likewise.
            metrics: List of metrics that every head gets (logged as
                `<head>_<metric>`, by a method of one head as `<metric>`), or
                a dict from head to its metrics. A metric is a name, a
                function of labels and logits, a `keras.metrics.Metric` (of
                which every head gets a copy), its class, or a function
                without arguments that makes one.
            weighted_metrics: Likewise, weighted by `sample_weight`.
            jit_compile: Whether to compile with XLA; on TensorFlow "auto"
                does so on accelerators only, because on CPUs XLA's
                convolutions are slower.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            InputError: A `loss` is given, a metric names no head or can't be
                copied, the optimizer accumulates gradients within a strategy
                or for a method that takes turns, overwrites weights by
                averages within a strategy, or is a `MultiOptimizer` for a
                method that takes turns.
        """
        for argument, value in (("loss", loss), ("loss_weights", loss_weights)):
            if value is not None:
                raise InputError(
                    f"`{argument}` is not taken: {type(self).__name__} "
                    f"brings its own loss, got {value!r}"
                )
        # A loss scale's optimizer holds the one that accumulates.
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        steps = getattr(inner, "gradient_accumulation_steps", None)
        if steps and self.takes_turns:
            raise InputError(
                "`gradient_accumulation_steps` does not go with "
                f"{type(self).__name__}, whose networks take turns, got {steps}"
            )
        if steps and in_strategy(self):
            raise InputError(
                "`gradient_accumulation_steps` works on one device only, got "
                f"{steps} within a tf.distribute strategy"
            )
        every = getattr(inner, "ema_overwrite_frequency", None)
        if every and in_strategy(self):
            raise InputError(
                "`ema_overwrite_frequency` works on one device only, got "
                f"{every} within a tf.distribute strategy"
            )
        multiple = isinstance(inner, keras.optimizers.MultiOptimizer)
        if multiple and self.takes_turns:
            raise InputError(
                "`optimizer` must not be a MultiOptimizer, which updates all "
                f"weights or none: networks of {type(self).__name__} take turns"
            )
        if jit_compile == "auto" and not prefers_xla():
            jit_compile = False
        by_head = {
            argument: metrics_by_head(given, self.heads, argument)
            for argument, given in (
                ("metrics", metrics),
                ("weighted_metrics", weighted_metrics),
            )
        }
        super().compile(
            optimizer=SGD() if optimizer is None else optimizer,
            jit_compile=jit_compile,
            **by_head,
            **kwargs,
        )
        self._unsaved_metrics = not_rebuilt(by_head)
        if not self._term_trackers:
            supervised, distillation = self._named_terms()
            weight = ["distillation_weight"] if distillation else []
            self._term_trackers = {
                name: keras.metrics.Mean(name=name)
                for name in (*supervised, *distillation, *weight)
            }

    def get_compile_config(self):
        """The arguments of `compile`, with the optimizer that trains.

        In float16 that is the given one within a loss scale's. It is saved as
        such, so that the file loads under any dtype policy.
        """
        config = super().get_compile_config()
        if config:
            config["optimizer"] = keras.saving.serialize_keras_object(
                self.optimizer
            )
            leave_out(self._unsaved_metrics, config)
        return config

    def compile_from_config(self, config):
        """Compiles a loaded model as it was compiled when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

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
            InputError: Images, labels and weights are not what they must be.
        """
        counter = EpochCounter()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            present = callbacks.callbacks
            if not any(isinstance(each, EpochCounter) for each in present):
                counter.set_model(self)
                present.insert(0, counter)
        elif isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [counter, callbacks]
        else:
            # First, so that what the others save counts the epoch as done.
            callbacks = [counter, *(callbacks or [])]
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            **kwargs,
        )

    def training_step(self, x, y, sample_weight):
        """One update of all trainable variables.

        Args:
            x: Image batch.
            y: Labels.
            sample_weight: Weights (batch,) or None.

        Returns:
            Dict of the metrics' and loss terms' running means.
        """
        forward = self.forward_pass(self, x, self.trainable_variables)
        forward.update(
            lambda logits, losses: self.compute_loss(
                x, y, logits, sample_weight, losses=losses
            )
        )
        return self.compute_metrics(x, y, forward.outputs, sample_weight)

    def evaluation_step(self, x, y, sample_weight):
        """Loss and metrics of one batch, with distillation weight 1.

        Args:
            x: Image batch.
            y: Labels.
            sample_weight: Weights (batch,) or None.

        Returns:
            Dict of the metrics' and loss terms' running means.
        """
        logits = self(x, training=False)
        self.compute_loss(x, y, logits, sample_weight, training=False)
        return self.compute_metrics(x, y, logits, sample_weight)

    def track_loss(self, loss, batch_size):
        """Logs the loss of a batch.

        Args:
            loss: Scalar tensor, the mean over this replica's samples.
            batch_size: Int or scalar tensor, how many they are.
        """
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=batch_size)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the metrics of all heads and returns all logged values."""
        logits = {**y_pred, **self.derived_heads(y_pred)}
        labels = {head: y for head in logits}
        return super().compute_metrics(x, labels, logits, sample_weight)
