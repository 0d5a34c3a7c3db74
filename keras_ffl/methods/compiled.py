"""Compiling methods, saving that in files, and logging."""

import keras
from keras import ops, optimizers

from keras_ffl.backend import in_strategy, prefers_xla
from keras_ffl.backend.counting import optimizers_in
from keras_ffl.errors import InputError
from keras_ffl.labels import is_sparse
from keras_ffl.methods.checked import CheckedModel
from keras_ffl.methods.metrics import leave_out, metrics_by_head, not_rebuilt
from keras_ffl.models.graph import layers_within
from keras_ffl.optimizers import SGD, decay_rules, set_decay_rules

# Keras' names, in lower case and without underscores, of metrics that would
# take heads' outputs for probabilities,
_OF_PROBABILITIES = {
    *("auc", "precision", "recall", "precisionatrecall", "recallatprecision"),
    *("sensitivityatspecificity", "specificityatsensitivity"),
    *("truepositives", "truenegatives", "falsepositives", "falsenegatives"),
    *("binaryaccuracy", "binarycrossentropy", "bce", "f1score", "fbetascore"),
    *("crossentropy", "ce", "categoricalcrossentropy"),
    *("sparsecategoricalcrossentropy", "kldivergence", "kld"),
}
# and of those of images with one of several classes.
_OF_CLASSES = {"accuracy", "acc"}


class CompiledModel(CheckedModel):
    """A model that logs named terms and the metrics of every head.

    Subclasses implement `logged_terms`, the names that `log_term` accepts.

    Attributes:
        partial_updates: Bool, whether an update changes only some weights,
            for example if networks take turns. Then the optimizer can't
            accumulate gradients, nor be one that updates all weights or none.
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
            loss: None; the method has its own loss.
            loss_weights: None, for the same reason.
            metrics: List of metrics for every head (logged as
                `<head>_<metric>`, or `<metric>` for a method with one head),
                or a dict from head to its metrics. A metric is a name, a
                function of labels and logits, a `keras.metrics.Metric` (of
                which every head gets a copy), its class, or a function
                without arguments that makes one. Those that suit the task
                are `model.task.metrics(model.head_shape)`.
            weighted_metrics: The same, weighted by `sample_weight`.
            jit_compile: Whether to compile with XLA; on TensorFlow "auto"
                does so only on accelerators, because XLA's convolutions are
                slower on CPUs.
            **kwargs: Further arguments of `keras.Model.compile`, and those
                from `get_compile_config`.

        Raises:
            InputError: A `loss` is given, metrics are given for an unknown
                head, belong to another task or can't be copied, or the
                optimizer isn't supported: gradient accumulation or
                overwriting weights with averages within a strategy, gradient
                accumulation or a `MultiOptimizer` for a method whose networks
                take turns.
        """
        for argument, value in (("loss", loss), ("loss_weights", loss_weights)):
            if value is not None:
                raise InputError(
                    f"`{argument}` must be None for {type(self).__name__}, "
                    f"which has its own loss, got {value!r}"
                )
        # Or from its name or configuration.
        optimizer = SGD() if optimizer is None else optimizers.get(optimizer)
        self._check_optimizer(optimizer)
        rules = kwargs.pop("decay_rules", None)
        if rules is not None:
            set_decay_rules(optimizer, self.weights, rules)
        optimizer = self._scaled(optimizer, kwargs.get("auto_scale_loss", True))
        self._check_metric_names(metrics, "metrics")
        self._check_metric_names(weighted_metrics, "weighted_metrics")
        given = jit_compile
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
            optimizer=optimizer,
            jit_compile=jit_compile,
            **by_head,
            **kwargs,
        )
        self._given_jit_compile = given
        self._unsaved_metrics = not_rebuilt(by_head)
        self._metrics_of_rows = None
        trackers = {
            name: self._term_trackers.get(name) or keras.metrics.Mean(name=name)
            for name in self.logged_terms
        }
        for name in self._term_trackers.keys() - trackers.keys():
            self._metrics.remove(self._term_trackers[name])
        self._term_trackers = trackers

    def _check_metric_names(self, metrics, argument):
        task = self.task
        refused = _OF_PROBABILITIES
        if not task.counts_classes:
            refused = refused | _OF_CLASSES
        for metric in keras.tree.flatten(metrics):
            if (
                isinstance(metric, str)
                and metric.lower().replace("_", "") in refused
            ):
                raise InputError(
                    f"`{argument}`: {metric!r} is a metric of classes or of "
                    f"probabilities, not of {type(task).__name__}'s outputs; "
                    "its own are `model.task.metrics(model.head_shape)`, and "
                    "those that have `from_logits` may be passed as objects"
                )

    def _scaled(self, optimizer, auto_scale_loss):
        """An optimizer with a loss scale if it trains layers in float16.

        Keras looks at the model's own policy only, not at its networks'.
        """
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if scaled or not auto_scale_loss:
            return optimizer
        if any(
            layer.compute_dtype == "float16" and layer.trainable_variables
            for layer in layers_within(self)
        ):
            return keras.optimizers.LossScaleOptimizer(optimizer)
        return optimizer

    def _check_optimizer(self, optimizer):
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        multiple = isinstance(inner, keras.optimizers.MultiOptimizer)
        if multiple and self.partial_updates:
            raise InputError(
                "`optimizer` must not be a MultiOptimizer, which updates all "
                f"weights or none: networks of {type(self).__name__} take turns"
            )
        for part in optimizers_in(optimizer):
            steps = getattr(part, "gradient_accumulation_steps", None)
            if steps and self.partial_updates:
                raise InputError(
                    "`gradient_accumulation_steps` must be None for "
                    f"{type(self).__name__}, whose networks take turns, got "
                    f"{steps}"
                )
            every = getattr(part, "ema_overwrite_frequency", None)
            for argument, value in (
                ("gradient_accumulation_steps", steps),
                ("ema_overwrite_frequency", every),
            ):
                if value and in_strategy(self):
                    raise InputError(
                        f"`{argument}` works on one device only, got {value} "
                        "within a tf.distribute strategy"
                    )

    def get_compile_config(self):
        """The arguments of `compile`, with the optimizer in use.

        In float16 that is the given one wrapped in a loss scale's. It is saved
        that way, so that the file loads under any dtype policy. "auto" as
        `jit_compile` stays so, for the machine that loads the file. Weight
        decay groups and weights without decay are those of the optimizer's
        variables, by the numbers of the weights.
        """
        config = super().get_compile_config()
        if config:
            config["optimizer"] = keras.saving.serialize_keras_object(
                self.optimizer
            )
            # It has a loss scale already, or none.
            config["auto_scale_loss"] = False
            config["jit_compile"] = self._given_jit_compile
            config["decay_rules"] = decay_rules(self.optimizer, self.weights)
            leave_out(self._unsaved_metrics, config)
        return config

    def compile_from_config(self, config):
        """Compiles a loaded model as it was when saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.built_optimizer()

    # ----- logging -------------------------------------------------------

    def log_term(self, name, value, batch_size):
        """Logs a named value of a batch.

        Args:
            name: One of `logged_terms`.
            value: Scalar tensor, the mean over this replica's samples.
            batch_size: Int or scalar tensor, the number of those samples.

        Raises:
            InputError: The model wasn't compiled with this term.
        """
        if name not in self._term_trackers:
            raise InputError(
                f"`{name}` is no term of {type(self).__name__} at its last "
                "`compile`; call that before the first step and after "
                "changing which terms there are"
            )
        self._term_trackers[name].update_state(value, sample_weight=batch_size)

    def log_loss(self, loss, batch_size):
        """Logs the loss of a batch; the arguments are those of `log_term`."""
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=batch_size)

    def build_metrics(self, y):
        """Creates the metrics' variables, which the first step does otherwise.

        Args:
            y: Labels of any batch, an array.
        """
        # Of an unknown size any will do: metrics don't depend on it.
        _, *shape = (size or 1 for size in (1, *self.head_shape[1:]))
        logits = {
            head: ops.zeros((len(y), *shape)) for head in self.trained_heads
        }
        self.compute_metrics(None, ops.convert_to_tensor(y), logits)
        self.reset_metrics()

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the metrics of all heads and returns all logged values."""
        logits = {head: y_pred[head] for head in self.trained_heads}
        logits |= self.derived_heads(logits)
        if self.task.counts_classes and self._compile_metrics is not None:
            y = self._as_first_labels(y)
        labels = {head: y for head in logits}
        return super().compute_metrics(x, labels, logits, sample_weight)

    def _as_first_labels(self, y):
        """Labels as integers or rows, like those of the first batch.

        By these Keras decides what "accuracy" means until the next `compile`.
        """
        classes = self.head_shape[-1]
        rows = not is_sparse(y, classes)
        if self._metrics_of_rows is None:
            self._metrics_of_rows = rows
        if rows == self._metrics_of_rows:
            return y
        if rows:
            raise InputError(
                "`y` must be integers for the metrics, like the first labels "
                "since `compile`, or the model compiled again, got rows of "
                f"shape {tuple(y.shape)}"
            )
        y = ops.reshape(ops.cast(y, "int32"), (-1,))
        return ops.one_hot(y, classes)
