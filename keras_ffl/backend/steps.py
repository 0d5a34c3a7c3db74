"""What a training step is made of, whatever runs it."""

import keras


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

    def update(self, loss_of, batch_size=None, counts=True):
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
            counts: Whether the update counts as a step of the optimizer. Of
                several updates of one batch, one should.

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
    * `turns`, a tuple of names: where it is not empty, a step is the turn of
      one of them, `turn`, which `turn_number(steps, epochs)` chooses before
      the step.

    To be implemented by the backends: `forward_pass_class`, and what Keras
    calls (`train_step`, `test_step` and so on).
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

    def forward_pass(self, network, x, variables, training=True):
        """The `ForwardPass` of a batch; the arguments are its own."""
        return self.forward_pass_class(self, network, x, variables, training)
