"""What `compile` of a method takes, what a file keeps of it, what is logged."""

import keras
from keras import ops

from keras_ffl.backend import in_strategy, prefers_xla
from keras_ffl.errors import InputError
from keras_ffl.methods.checked import CheckedModel
from keras_ffl.methods.metrics import leave_out, metrics_by_head, not_rebuilt
from keras_ffl.optimizers import SGD


class CompiledModel(CheckedModel):
    """A model that logs named terms and the metrics of every head.

    To be implemented by subclasses: `logged_terms`, the names of what
    `log_term` takes.

    Attributes:
        partial_updates: Whether an update moves a part of the weights, as
            where networks take turns. Then the optimizer can neither
            accumulate gradients nor be one that moves all weights or none.
    """

    partial_updates = False
    _term_trackers = {}

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
        self._check_optimizer(optimizer)
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
            self._term_trackers = {
                name: keras.metrics.Mean(name=name)
                for name in self.logged_terms
            }

    def _check_optimizer(self, optimizer):
        # A loss scale's optimizer holds the one that accumulates.
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        steps = getattr(inner, "gradient_accumulation_steps", None)
        if steps and self.partial_updates:
            raise InputError(
                "`gradient_accumulation_steps` does not go with "
                f"{type(self).__name__}, whose networks take turns, got {steps}"
            )
        every = getattr(inner, "ema_overwrite_frequency", None)
        for argument, value in (
            ("gradient_accumulation_steps", steps),
            ("ema_overwrite_frequency", every),
        ):
            if value and in_strategy(self):
                raise InputError(
                    f"`{argument}` works on one device only, got {value} "
                    "within a tf.distribute strategy"
                )
        multiple = isinstance(inner, keras.optimizers.MultiOptimizer)
        if multiple and self.partial_updates:
            raise InputError(
                "`optimizer` must not be a MultiOptimizer, which updates all "
                f"weights or none: networks of {type(self).__name__} take turns"
            )

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

    # ----- what is logged ------------------------------------------------

    def log_term(self, name, value, batch_size):
        """Logs a named value of a batch.

        Args:
            name: One of `logged_terms`.
            value: Scalar tensor, the mean over this replica's samples.
            batch_size: Int or scalar tensor, how many they are.
        """
        self._term_trackers[name].update_state(value, sample_weight=batch_size)

    def log_loss(self, loss, batch_size):
        """Logs the loss of a batch; the arguments are those of `log_term`."""
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=batch_size)

    def build_metrics(self, y):
        """Creates the metrics' variables, as the first step otherwise does.

        Args:
            y: Labels of any batch, an array.
        """
        logits = {
            head: ops.zeros((len(y), self.num_classes))
            for head in self.trained_heads
        }
        self.compute_metrics(None, ops.convert_to_tensor(y), logits)
        self.reset_metrics()

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the metrics of all heads and returns all logged values."""
        logits = {**y_pred, **self.derived_heads(y_pred)}
        labels = {head: y for head in logits}
        return super().compute_metrics(x, labels, logits, sample_weight)
