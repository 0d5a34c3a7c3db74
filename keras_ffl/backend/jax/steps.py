"""Training on JAX: a step is a function of the state of all variables.

Steps are written as on TensorFlow, reading and assigning variables. Here they
run in a `keras.StatelessScope`, which collects the assigned values.
"""

import contextlib
import functools
import warnings

import jax
import keras

from keras_ffl.backend.counting import optimizers_in
from keras_ffl.backend.jax.feed import feed
from keras_ffl.backend.jax.values import (
    check_values,
    on_device,
    with_values_checked,
)
from keras_ffl.backend.steps import ForwardPass, SteppedModel
from keras_ffl.data import Batches
from keras_ffl.errors import InputError


class PulledBackPass(ForwardPass):
    """A forward pass that keeps the pull-back of `jax.vjp`."""

    def __init__(self, model, network, x, variables, training=True):
        self._model = model
        self._variables = variables

        def predict(values):
            with model.scope(zip(variables, values)) as scope:
                outputs = network(x, training=training)
                losses = network.losses
            return (outputs, losses), model.values_in(scope)

        (self.outputs, self._losses), self._pull_back, values = jax.vjp(
            predict, [v.value for v in variables], has_aux=True
        )
        model.assign_values(values)

    def update(self, loss_of, count=None):
        model = self._model
        optimizer = count.next_update() if count else model.optimizer

        def loss_and_values(outputs, losses, values):
            with model.scope(zip(self._variables, values)) as scope:
                loss = loss_of(outputs, losses)
                scaled = optimizer.scale_loss(loss)
            return scaled, (loss, model.values_in(scope))

        (*slopes, direct), (loss, values) = jax.grad(
            loss_and_values, (0, 1, 2), has_aux=True
        )(self.outputs, self._losses, [v.value for v in self._variables])
        model.assign_values(values)
        (gradients,) = self._pull_back(tuple(slopes))
        # A method may have weights of its own in its loss.
        gradients = [a + b for a, b in zip(gradients, direct, strict=True)]
        self._apply(optimizer, gradients)
        return loss

    def _apply(self, optimizer, gradients):
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.apply(gradients, self._variables)
            return
        # Only this way can an update be skipped. It takes all variables; those
        # that keep their values have no gradient.
        known = dict(zip(map(id, self._variables), gradients, strict=True))
        variables = optimizer.inner_optimizer._trainable_variables
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")
            values, slots = optimizer.stateless_apply(
                [v.value for v in optimizer.variables],
                [known.get(id(v)) for v in variables],
                [v.value for v in variables],
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        for variable, value in zip(optimizer.variables, slots, strict=True):
            variable.assign(value)


class MethodModel(SteppedModel):
    """A model whose steps run on JAX."""

    forward_pass_class = PulledBackPass

    # ----- variables and their values --------------------------------------

    def _groups(self):
        """All variables, grouped in the order of Keras' training state."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )

    def _groups_of_test(self):
        """The same for Keras' evaluation state."""
        trainable, others, _, metrics = self._groups()
        return trainable, others, metrics

    def _all_variables(self):
        return [v for group in self._groups() for v in group]

    def scope(self, values=()):
        """A scope in which assigning variables has no effect outside.

        Args:
            values: Pairs of a `keras.Variable` and its value in the scope;
                all others have the same value as outside.

        Returns:
            `keras.StatelessScope`.
        """
        known = {id(v): (v, v.value) for v in self._all_variables()}
        known.update({id(v): (v, value) for v, value in values})
        return keras.StatelessScope(known.values(), collect_losses=True)

    def values_in(self, scope):
        """The values of all variables at the end of a scope, a list."""
        return [scope.get_current_value(v) for v in self._all_variables()]

    def assign_values(self, values):
        """Assigns the values returned by `values_in` to all variables."""
        for variable, value in zip(self._all_variables(), values, strict=True):
            variable.assign(value)

    def _stateless(self, step, groups, state, data, training=True):
        """Calls a step on the values of groups of variables.

        Returns:
            Tuple of its result and the values after it.
        """
        pairs = _pairs(groups, state)
        with keras.StatelessScope(pairs, collect_losses=True) as scope:
            logs = step(*self.unpacked(data, training))
        return logs, tuple(
            [scope.get_current_value(v) for v in group] for group in groups
        )

    # ----- what Keras calls ------------------------------------------------

    def train_step(self, state, data):
        """One training step, or as many as a batch on the device holds.

        Args:
            state: Tuple of the values of the trainable variables, the
                non-trainable, the optimizer's and the metrics'.
            data: Batch `(x, y)` or `(x, y, sample_weight)`, or a batch of
                `keras_ffl.backend.jax.feed`.

        Returns:
            Tuple of a dict of the running means of metrics and loss terms,
            and the new state.
        """
        batch = data[0] if on_device(data) else None
        if batch is None or len(batch.steps()["example"]) == 1:
            return self._one_step(state, _prepared(data))

        def step(state, rows):
            logs, state = self._one_step(state, batch.prepared(rows))
            return state, logs

        state, logs = jax.lax.scan(step, state, batch.steps())
        return {name: values[-1] for name, values in logs.items()}, state

    def _one_step(self, state, data):
        def take_turn(turn, state):
            self._turn = turn
            try:
                return self._stateless(
                    self.training_step, self._groups(), state, data
                )
            finally:
                self._turn = None

        if not self.turns:
            return take_turn(None, state)
        with keras.StatelessScope(_pairs(self._groups(), state)):
            number = self.turn_number(
                self.optimizer.iterations.value, self.epochs_trained.value
            )
        turns = [functools.partial(take_turn, turn) for turn in self.turns]
        return jax.lax.switch(number, turns, state)

    def test_step(self, state, data):
        """Loss and metrics of one batch, with distillation weight 1.

        Args:
            state: Tuple of the values of the trainable variables, the
                non-trainable and the metrics'.
            data: As in `train_step`.

        Returns:
            As in `train_step`.
        """
        return self._stateless(
            self.evaluation_step,
            self._groups_of_test(),
            state,
            _prepared(data),
            training=False,
        )

    def predict_step(self, state, data):
        """Logits of one batch, like `keras.Model.predict_step`."""
        return super().predict_step(state, _prepared(data))

    def fit(self, x=None, *args, class_weight=None, **kwargs):
        """As in `SteppedModel`, but `Batches` take no `class_weight`."""
        if class_weight is not None and isinstance(x, Batches):
            raise InputError(
                "`class_weight` must be None for Batches on JAX, whose labels "
                f"are looked up in the step, got {class_weight}"
            )
        try:
            return super().fit(x, *args, class_weight=class_weight, **kwargs)
        finally:
            # Without `compile` there is none.
            for inner in optimizers_in(self.optimizer) if self.compiled else ():
                if not (inner.use_ema and inner.built):
                    continue
                # Keras leaves the weights in the buffers of their averages,
                # and the next step can't take a buffer twice.
                for average in inner._model_variables_moving_average:
                    if average is not None:
                        average.assign(keras.ops.copy(average.value))

    def evaluate(self, *args, **kwargs):
        """As in `SteppedModel`; an error changes no values."""
        with self._values_kept():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """As in `SteppedModel`; an error changes no values."""
        with self._values_kept():
            return super().predict(*args, **kwargs)

    @contextlib.contextmanager
    def _values_kept(self):
        """Gives variables their values back after an error.

        Keras does so in `fit` alone. Copies, because steps overwrite arrays.
        """
        # A callback may call this in the middle of `fit`.
        self.jax_state_sync()
        variables = (
            *self.trainable_variables,
            *self.non_trainable_variables,
            *self.metrics_variables,
        )
        before = [keras.ops.copy(variable.value) for variable in variables]
        try:
            yield
        except BaseException:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            self._jax_state, self._jax_state_synced = None, True
            raise

    def feed(self, batches):
        """The form in which Keras receives `keras_ffl.data.Batches`."""
        return feed(batches)

    def is_fed(self, batch):
        """As in the base class."""
        return on_device(batch)

    def make_train_function(self, force=False):
        """As in Keras, with a check of batches from data sets."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = with_values_checked(
                self, self.train_function, self._groups
            )

    def make_test_function(self, force=False):
        """As in Keras, with a check of batches from data sets."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = with_values_checked(
                self, self.test_function, self._groups_of_test, training=False
            )

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds the metrics here, from a batch before it is prepared.
        check = self.unpacked
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch, iterator = next(batches), None
            check = functools.partial(check_values, self)
        if on_device(data_batch):
            data_batch = jax.eval_shape(_prepared, data_batch)
        else:
            check(data_batch)
        super()._symbolic_build(iterator, data_batch)


def _pairs(groups, state):
    """Pairs of variables and values from groups of both."""
    return [
        pair
        for group, values in zip(groups, state, strict=True)
        for pair in zip(group, values, strict=True)
    ]


def _prepared(data):
    """A batch as the network takes it: the first step of one on the device."""
    if not on_device(data):
        return data
    (batch,) = data
    return batch.prepared({k: rows[0] for k, rows in batch.steps().items()})
