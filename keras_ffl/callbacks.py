"""Keras callbacks for training."""

import math

import keras
import numpy as np

from keras_ffl.errors import TrainingDiverged

__all__ = ["StopOnDivergence", "WarmUp"]


class StopOnDivergence(keras.callbacks.Callback):
    """Ends training with an error when loss or weights are NaN or infinite.

    The loss is checked after every step, the weights after every epoch: a
    ReLU can turn NaN into 0, and then the loss looks normal.

    Unlike `keras.callbacks.TerminateOnNaN` it raises, so that nothing after
    the epoch (above all no checkpoint) sees the broken weights.

    Args:
        steps_per_epoch: Int, steps of a full epoch, for the message.
        numbers: Sequence of int, the epoch's step that each of Keras' steps
            begins with; None if they are the same.

    Raises:
        TrainingDiverged: Names the epoch, the step, and any broken weight.
    """

    def __init__(self, steps_per_epoch, numbers=None):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.numbers = range(steps_per_epoch) if numbers is None else numbers
        self.epoch = 0
        self.step = 1

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.step = self.numbers[batch] + 1

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss} in epoch {self.epoch + 1}, step "
                f"{self.step} of {self.steps_per_epoch}; the last checkpoint "
                "before it is kept. A smaller learning_rate, in another "
                "workdir, may help"
            )

    def on_epoch_end(self, epoch, logs=None):
        path = broken_weight(self.model)
        if path is not None:
            raise TrainingDiverged(
                f"{path} is not finite after epoch {epoch + 1}, step "
                f"{self.steps_per_epoch}; the last checkpoint before it is "
                "kept. A smaller learning_rate, in another workdir, may help"
            )


def broken_weight(model):
    """Finds a weight with NaN or infinity.

    Args:
        model: Built `keras.Model`.

    Returns:
        Str, the path of the first one; None if there is none.
    """
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight.value)
        if not np.isfinite(values).all():
            return weight.path
    return None


class WarmUp(keras.callbacks.Callback):
    """Raises the learning rate in even steps at the start of training.

    Step t of the first T uses the fraction (t + 1) / T of the epoch's rate.
    Place it after the callback that sets the epoch's rate.

    Args:
        schedule: Function from the epoch to its rate.
        epochs: Number > 0, length of the warm-up.
        steps_per_epoch: Int.
        numbers: Sequence of int, the epoch's step that each of Keras' steps
            begins with; None if they are the same.

    Reference:
        Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    """

    def __init__(self, schedule, epochs, steps_per_epoch, numbers=None):
        super().__init__()
        self.schedule = schedule
        self.steps = max(1, round(epochs * steps_per_epoch))
        self.steps_per_epoch = steps_per_epoch
        self.numbers = range(steps_per_epoch) if numbers is None else numbers
        self.epoch = 0
        self._share = 0.0

    def on_train_begin(self, logs=None):
        # It may have served another model.
        self._share = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        # A call of several steps may begin behind the last step of warm-up.
        if self._share < 1.0:
            step = self.epoch * self.steps_per_epoch + self.numbers[batch]
            if hasattr(self.model, "jax_state_sync"):
                # JAX needs this before a variable is set between steps.
                self.model.jax_state_sync()
            self._share = min(1.0, (step + 1) / self.steps)
            self.model.optimizer.learning_rate = self._share * self.schedule(
                self.epoch
            )


class History(keras.callbacks.Callback):
    """Writes a row of the history after every epoch.

    Args:
        workdir: `keras_ffl.workdir.Workdir`.
    """

    def __init__(self, workdir):
        super().__init__()
        self.workdir = workdir

    def on_epoch_end(self, epoch, logs=None):
        values = {name: logs[name] for name in sorted(logs)}
        self.workdir.add_to_history({"epoch": epoch, **values})


class Checkpoints(keras.callbacks.Callback):
    """Saves the model after every epoch, and separately if it is the best.

    Args:
        workdir: `keras_ffl.workdir.Workdir`.
        monitor: Name of the logged accuracy that determines the best.
        best: Highest value of `monitor` before this training, if any.
        keep: Int, number of the latest checkpoints to keep.
    """

    def __init__(self, workdir, monitor, best=None, keep=2):
        super().__init__()
        self.workdir = workdir
        self.monitor = monitor
        self.best = best
        self.keep = keep

    def on_epoch_end(self, epoch, logs=None):
        value = float(logs[self.monitor])
        if self.best is None or value > self.best:
            self.best = value
            self.workdir.save_best(self.model, epoch + 1)
        self.workdir.save_checkpoint(self.model, epoch + 1, self.keep)


class EpochCounter(keras.callbacks.Callback):
    """Keeps a method's own count of epochs while `fit` runs."""

    def on_epoch_begin(self, epoch, logs=None):
        # A later start (`initial_epoch`, a restored backup) moves the count
        # forward; a second `fit` continues where the first one stopped.
        done = int(self.model.epochs_trained.numpy())
        self.model.epochs_trained.assign(max(done, epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.model.epochs_trained.assign_add(1)


def counting_epochs(callbacks, model):
    """Puts an `EpochCounter` before the callbacks of `fit`.

    It comes first, so that the others save models that count the epoch as
    done.

    Args:
        callbacks: As in `fit`. A `keras.callbacks.CallbackList` gets the
            counter unless it already has one.
        model: `keras_ffl.methods.TrainingMethod`.

    Returns:
        Callbacks for `fit`.
    """
    counter = EpochCounter()
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        if isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [callbacks]
        return [counter, *(callbacks or [])]
    present = callbacks.callbacks
    if not any(isinstance(each, EpochCounter) for each in present):
        counter.set_model(model)
        present.insert(0, counter)
    return callbacks
