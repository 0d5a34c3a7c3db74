"""The parts of a training step that are the same on all backends."""

import contextlib
import weakref

import keras

from keras_ffl.backend.counting import OneCount
from keras_ffl.batch_parts import check_images, holds_views, unpacked
from keras_ffl.data import Batches, naming_unreadable
from keras_ffl.errors import InputError


class ForwardPass:
    """A network's outputs for a batch, ready for an update.

    Args:
        model: `SteppedModel` whose optimizer makes the update.
        network: `keras.Model`, the model itself or a part of it.
        x: Image batch.
        variables: List of trainable `keras.Variable` to update.
        training: As in a call of the network.

    Attributes:
        outputs: The network's outputs.
    """

    def __init__(self, model, network, x, variables, training=True):
        raise NotImplementedError

    def update(self, loss_of, count=None):
        """Updates the variables by the gradient of a loss.

        All other variables and their slots in the optimizer keep their
        values.

        Every loss in this package is a mean over the samples of one replica.
        This method alone turns it into the replica's share of the mean over
        the global batch and takes the gradient of that share, because
        gradients are summed over the replicas.

        Args:
            loss_of: Function from the outputs and the list of the network's
                regularisation losses to the scalar loss.
            count: The `OneCount` of `SteppedModel.one_count` if a batch makes
                several updates; None for a single update.

        Returns:
            The loss returned by `loss_of`.
        """
        raise NotImplementedError


class SteppedModel(keras.Model):
    """A functional model that trains with its `training_step`.

    Training methods implement:

    * `training_step(x, y, sample_weight)` and
      `evaluation_step(x, y, sample_weight)`, which update the metrics and
      return their running values.
    * `task`, `head_shape` (of every head's output) and `heads`, which
      determine the valid labels.
    * `turns`, a tuple of names: if it isn't empty, every step is the turn of
      one of them, `turn`, which `turn_number(steps, epochs)` chooses before
      the step.
    * `views`, the number of views that each image of a training batch may
      have: (batch, views, height, width, channels); 0 for none.

    Backends implement `forward_pass_class`, `feed` and the methods that Keras
    calls (`train_step`, `test_step` and so on).
    """

    forward_pass_class = ForwardPass
    turns = ()
    views = 0
    _turn = None

    @property
    def turn(self):
        """Whose turn the current step is, one of `turns`."""
        return self._turn or self.next_turn()

    def next_turn(self):
        """Whose turn the next step is, one of `turns`."""
        number = self.turn_number(
            int(self.optimizer.iterations.numpy()),
            int(self.epochs_trained.numpy()),
        )
        return self.turns[number]

    def unpacked(self, batch, training=True):
        """Images, labels and weights (or None) of a batch.

        Args:
            batch: As in `keras_ffl.batch_parts.unpacked`.
            training: Bool, whether the batch may hold several views of each
                image.

        Raises:
            InputError: As in `unpacked` and `check_images` of
                `keras_ffl.batch_parts`.
        """
        parts = unpacked(batch, self.check_label_kind, self.heads)
        views = self.views if training else 0
        check_images(parts[0], self.input, views)
        return parts

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds the metrics by calling the model, on single images.
        if data_batch is not None and holds_views(
            data_batch[0], self.input.shape
        ):
            x, *others = data_batch
            x = keras.KerasTensor((x.shape[0], *x.shape[2:]), x.dtype)
            data_batch = (x, *others)
        if self.compiled:
            self.built_optimizer()
        super()._symbolic_build(iterator, data_batch)

    def check_label_kind(self, y, argument="y"):
        """Checks type and shape of labels, as in `keras_ffl.tasks.Task`."""
        self.task.check_kind(y, self.head_shape, argument)

    def check_label_values(self, y, argument="y"):
        """Checks an array of labels, as in `keras_ffl.tasks.Task`."""
        self.task.check_values(y, self.head_shape, argument)

    def forward_pass(self, network, x, variables, training=True):
        """The `ForwardPass` of a batch, with the same arguments.

        Raises:
            InputError: `variables` is empty.
        """
        self._check_trainable(variables)
        return self.forward_pass_class(self, network, x, variables, training)

    @contextlib.contextmanager
    def one_count(self):
        """Context in which several updates of a batch count as one.

        Yields:
            `keras_ffl.backend.counting.OneCount`, to pass to every `update`.

        Raises:
            InputError: The whole model is frozen.
        """
        self._check_trainable(self.trainable_variables)
        count = OneCount(self.built_optimizer())
        yield count
        count.finish()

    def built_optimizer(self):
        """The optimizer, with its variables for the weights created."""
        optimizer = self.optimizer
        if not optimizer.built:
            # A loss scale would hide what else its optimizer builds, such as
            # Nadam's product, from files and from JAX.
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            inner.build(self.trainable_variables)
            optimizer.build(self.trainable_variables)
        return optimizer

    def _check_trainable(self, variables):
        if not variables:
            raise InputError(
                "`trainable` must be True for a layer that a step of "
                f"{type(self).__name__} moves, got frozen layers only"
            )

    # ----- batches of this package -------------------------------------------

    def feed(self, batches):
        """The form in which Keras receives `keras_ffl.data.Batches`."""
        raise NotImplementedError

    def is_fed(self, batch):
        """Whether a batch or its specification is one that `feed` prepared."""
        return False

    def _fed(self, x):
        return self.feed(x) if isinstance(x, Batches) else x

    def _fed_to_evaluate(self, x):
        return self._fed(x.one_step_per_call() if isinstance(x, Batches) else x)

    def fit(
        self,
        x=None,
        y=None,
        epochs=1,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_data=None,
        **kwargs,
    ):
        """`keras.Model.fit` that also accepts `keras_ffl.data.Batches`.

        Of these it draws the epochs from `initial_epoch` to `epochs`, whichever
        their options name. `BackupAndRestore` may begin with a later one.

        Raises:
            InputError: `steps_per_epoch` is more than `Batches` have, or no
                multiple of `steps_per_execution`, a photo can't be read, or
                an argument doesn't go with `Batches`.
        """
        # Keras would begin every later `fit` there, too.
        self._initial_epoch = None
        if isinstance(x, Batches):
            given = {
                "y": y,
                "sample_weight": kwargs.get("sample_weight"),
                "validation_split": kwargs.get("validation_split") or None,
            }
            for name, value in given.items():
                if value is not None:
                    raise InputError(
                        f"`{name}` must be None for Batches, which hold their "
                        f"labels, got a {type(value).__name__}"
                    )
            # `BackupAndRestore` sets it, and `fit` of Keras reads it.
            model = weakref.ref(self)
            x = x.of_epochs(
                initial_epoch,
                epochs,
                lambda: model()._initial_epoch or initial_epoch,
            )
            calls = len(x.calls)
            if (steps_per_epoch or 0) > calls:
                raise InputError(
                    f"`steps_per_epoch` must be at most {calls}, what an epoch "
                    f"of these Batches has, got {steps_per_epoch}"
                )
            steps_per_epoch = steps_per_epoch or calls
            if steps_per_epoch % self.steps_per_execution:
                # Keras would take the rest from the next epoch.
                raise InputError(
                    "`steps_per_execution` must divide the "
                    f"{steps_per_epoch} steps of an epoch of these Batches, "
                    f"got {self.steps_per_execution}"
                )
            # These are already shuffled.
            kwargs["shuffle"] = False
        with naming_unreadable():
            return super().fit(
                self._fed(x),
                y,
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_data=self._fed_to_evaluate(validation_data),
                **kwargs,
            )

    def evaluate(self, x=None, *args, **kwargs):
        """`keras.Model.evaluate` that also accepts `keras_ffl.data.Batches`."""
        with naming_unreadable():
            return super().evaluate(self._fed_to_evaluate(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict` that also accepts `keras_ffl.data.Batches`."""
        with naming_unreadable():
            return super().predict(self._fed_to_evaluate(x), *args, **kwargs)
