"""Training on TensorFlow: tapes, and replicas under tf.distribute."""

import keras

from keras_ffl.backend.steps import ForwardPass, SteppedModel
from keras_ffl.backend.tensorflow.feed import feed, normalized_batch
from keras_ffl.backend.tensorflow.platform import has_accelerator
from keras_ffl.backend.tensorflow.replicas import (
    agreed_if_finite,
    clipped_as_one,
    first_of_replica,
    function_of_replicas,
    in_strategy,
    share_of_replica,
)
from keras_ffl.backend.tensorflow.values import values_checked
from keras_ffl.optional import tensorflow as tf


class TapedPass(ForwardPass):
    """A forward pass recorded on a `tf.GradientTape`."""

    def __init__(self, model, network, x, variables, training=True):
        self._model = model
        self._variables = variables
        self._tape = tf.GradientTape()
        with self._tape:
            self.outputs = network(x, training=training)
            self._losses = network.losses

    def update(self, loss_of, count=None):
        optimizer = self._model.built_optimizer()
        if count:
            optimizer = count.next_update()
        with self._tape:
            loss = loss_of(self.outputs, self._losses)
            first = keras.tree.flatten(self.outputs)[0]
            share = share_of_replica(loss, keras.ops.shape(first)[0])
            scaled = optimizer.scale_loss(share)
        gradients = self._tape.gradient(scaled, self._variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = agreed_if_finite(gradients)
        gradients = clipped_as_one(optimizer, gradients, self._variables)
        optimizer.apply(gradients, self._variables)
        return loss


class MethodModel(SteppedModel):
    """A model whose steps run on TensorFlow, also on replicas."""

    forward_pass_class = TapedPass

    def train_step(self, data):
        """One training step.

        Args:
            data: Batch `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            Dict of the running means of metrics and loss terms.
        """
        return self.training_step(*self._checked(data))

    def test_step(self, data):
        """Loss and metrics of one batch, with distillation weight 1.

        Args:
            data: Batch `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            Dict of the running means of metrics and loss terms.
        """
        return self.evaluation_step(*self._checked(data, training=False))

    def _checked(self, data, training=True):
        """The unpacked batch, its values checked where that is possible."""
        batch = self.unpacked(normalized_batch(data), training)
        # Under a strategy nothing is compiled by `jit_compile`.
        if has_accelerator() or (self.jit_compile and not in_strategy(self)):
            return batch
        return values_checked(*batch, self.task, self.head_shape)

    def predict_step(self, data):
        """Logits of one batch, like `keras.Model.predict_step`."""
        return super().predict_step(normalized_batch(data))

    def feed(self, batches):
        """The `tf.data.Dataset` of batches, distributed under a strategy."""
        return feed(batches, self.distribute_strategy)

    def make_train_function(self, force=False):
        """As in Keras, but works with replicas in several processes too.

        Methods with turns get one compiled function per turn, chosen before
        every step. So the frozen half of a network costs no backward pass and
        the graph has no condition (replicas can't update within one).
        """
        if self.train_function is not None and not force:
            return
        if not self.turns:
            self._make_train_function()
            return
        functions = {}

        def take_turn(iterator):
            self._turn = turn = self.next_turn()
            try:
                if turn not in functions:
                    self._make_train_function()
                    functions[turn] = self.train_function
                    self.train_function = take_turn
                return functions[turn](iterator)
            finally:
                self._turn = None

        self.train_function = take_turn

    def _make_train_function(self):
        # Not in the step, of which what Keras assigns then would be a part.
        if self.trainable_variables:
            with self.distribute_strategy.scope():
                self.built_optimizer()
        if not in_strategy(self):
            super().make_train_function(force=True)
            return
        self.train_function = function_of_replicas(
            self.distribute_strategy, self.train_step, self.steps_per_execution
        )

    def make_test_function(self, force=False):
        """As in Keras, but works with replicas in several processes too."""
        if not in_strategy(self):
            super().make_test_function(force)
        elif self.test_function is None or force:
            one_step = function_of_replicas(
                self.distribute_strategy, self.test_step
            )

            # One step per execution of the graph: Keras gets no result from
            # one that runs out of data.
            def test_steps(iterator):
                logs = None
                for _ in range(self.steps_per_execution):
                    try:
                        logs = one_step(iterator)
                    except (StopIteration, tf.errors.OutOfRangeError):
                        if logs is None:
                            raise
                        break
                return logs

            self.test_function = test_steps

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds the metrics here, from the mean of a batch over the
        # replicas, which fails for labels and with several processes. One
        # replica's part of the batch serves just as well.
        if in_strategy(self) and iterator is not None:
            data_batch = first_of_replica(
                self.distribute_strategy, iterator._get_iterator()
            )
            iterator = None
        if data_batch is not None:
            data_batch = normalized_batch(data_batch)
            self.unpacked(data_batch)
        super()._maybe_symbolic_build(iterator, data_batch)
