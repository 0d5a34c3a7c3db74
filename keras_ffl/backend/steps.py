"""What a training step is made of, whatever runs it."""

import contextlib

import keras

from keras_ffl.backend.counting import OneCount
from keras_ffl.batches import unpacked
from keras_ffl.data import Batches
from keras_ffl.errors import InputError


class ForwardPass:
    """What a network predicts for a batch, ready for an update.

    Args:
        model: `SteppedModel` whose optimizer makes the update.
        network: `keras.Model`, the model itself or a part of it.
        x: Image batch.
        variables: List of trainable `keras.Variable`, those to update.
        training: As of a call of the network.

    Attributes:
        outputs: What the network returns.
    """

    def __init__(self, model, network, x, variables, training=True):
        raise NotImplementedError

    def update(self, loss_of, batch_size=None, count=None):
        """Moves the variables by the gradient of a loss; no others.

        All other variables keep their values, and the optimizer's slots of
        them theirs.

        Args:
            loss_of: Function from the outputs and the list of the network's
                regularisation losses to a scalar, the loss. It must depend on
                the variables through these two only.
            batch_size: Int or scalar tensor, over how many samples of this
                replica the loss is a mean; None where it is the replica's
                share of the global mean already.
            count: What `SteppedModel.one_count` gives, where a batch makes
                several updates; None where this is all.

        Returns:
            The loss as `loss_of` gave it.
        """
        raise NotImplementedError


class SteppedModel(keras.Model):
    """A functional model that trains by its `training_step`.

    To be implemented by the training methods:

    * `training_step(x, y, sample_weight)` and
      `evaluation_step(x, y, sample_weight)`, which update the metrics and
      return their running values.
    * `num_classes` and `heads`, which say what labels may be.
    * `turns`, a tuple of names: where it is not empty, a step is the turn of
      one of them, `turn`, which `turn_number(steps, epochs)` chooses before
      the step.

    To be implemented by the backends: `forward_pass_class`, `feed`, and what
    Keras calls (`train_step`, `test_step` and so on).
    """

    forward_pass_class = ForwardPass
    turns = ()
    _turn = None

    @property
    def turn(self):
        """Whose turn the step is that is being made, one of `turns`."""
        return self._turn or self.next_turn()

    def next_turn(self):
        """Whose turn the next step is, one of `turns`."""
        number = self.turn_number(
            int(self.optimizer.iterations.numpy()),
            int(self.epochs_trained.numpy()),
        )
        return self.turns[number]

    def unpacked(self, batch):
        """Images, labels and weights (or None) of a batch.

        Raises:
            InputError: It is none, as `keras_ffl.batches.unpacked` says.
        """
        return unpacked(batch, self.num_classes, self.heads)

    def forward_pass(self, network, x, variables, training=True):
        """The `ForwardPass` of a batch; the arguments are its own.

        Raises:
            InputError: There are no `variables`.
        """
        self._check_trainable(variables)
        return self.forward_pass_class(self, network, x, variables, training)

    @contextlib.contextmanager
    def one_count(self):
        """Within it, the updates that get what it gives count as one.

        Gives:
            `keras_ffl.backend.counting.OneCount`.

        Raises:
            InputError: All of the model is frozen.
        """
        self._check_trainable(self.trainable_variables)
        count = OneCount(self.built_optimizer())
        yield count
        count.finish()

    def built_optimizer(self):
        """The optimizer, with the variables that it keeps for the weights."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return self.optimizer

    def _check_trainable(self, variables):
        if not variables:
            raise InputError(
                "`trainable` must be True for a layer that a step of "
                f"{type(self).__name__} moves, got frozen layers only"
            )

    # ----- batches of this package -------------------------------------------

    def feed(self, batches):
        """What Keras is given for `keras_ffl.data.Batches`."""
        raise NotImplementedError

    def _fed(self, x):
        return self.feed(x) if isinstance(x, Batches) else x

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        """`keras.Model.fit`, also of `keras_ffl.data.Batches`."""
        if isinstance(x, Batches):
            # They come shuffled.
            kwargs["shuffle"] = False
        return super().fit(
            self._fed(x),
            *args,
            validation_data=self._fed(validation_data),
            **kwargs,
        )

    def evaluate(self, x=None, *args, **kwargs):
        """`keras.Model.evaluate`, also of `keras_ffl.data.Batches`."""
        return super().evaluate(self._fed(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict`, also of `keras_ffl.data.Batches`."""
        return super().predict(self._fed(x), *args, **kwargs)
