"""Stops a run between two steps, and saves it in the middle of an epoch."""

import concurrent.futures
import contextlib
import functools
import signal
import sys
import threading
import time

import keras
import numpy as np

from keras_ffl.errors import InputError, Unfinished

# Several processes agree after so many steps or seconds, whatever is less,
# because each agreement costs a message.
_STEPS, _SECONDS = 10, 5.0


class _StopNow(KeyboardInterrupt):
    """A signal outside of the steps. Nobody handles it as an error."""


def _unraisable(hook, found):
    # Raised in a callback of the garbage collector it is lost; the request
    # is still there when the first step ends.
    if not isinstance(found.exc_value, _StopNow):
        hook(found)


class StopRequest:
    """A request to stop a run, by a signal or a time limit.

    Args:
        minutes: Number > 0, counted from now, or None for no limit.

    Attributes:
        between_steps: Bool, whether `reason` is checked after every step.
            Otherwise a signal raises `Unfinished` at once.

    Raises:
        InputError: `minutes` is not a number > 0.
    """

    def __init__(self, minutes=None):
        if minutes is not None and not minutes > 0:
            raise InputError(f"`max_minutes` must be > 0, got {minutes}")
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._signal = None
        self.between_steps = False

    @property
    def by_signal(self):
        """Whether a signal was received."""
        return self._signal is not None

    @property
    def reason(self):
        """Why the run should stop, a clause, or None."""
        if self._signal:
            return f"{self._signal} was received"
        if self._end is not None and time.monotonic() >= self._end:
            return "the time was up"
        return None

    @contextlib.contextmanager
    def listening(self):
        """Context in which SIGTERM and SIGINT request a stop.

        A second signal ends the process at once. Python only delivers signals
        to the main thread; in others this context does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = signal.SIGTERM, signal.SIGINT
        before = [signal.signal(number, self._received) for number in numbers]
        hook = sys.unraisablehook
        sys.unraisablehook = functools.partial(_unraisable, hook)
        try:
            yield
        except _StopNow:
            raise Unfinished(
                f"stopped, since {self.reason}; the same command resumes"
            ) from None
        finally:
            sys.unraisablehook = hook
            for number, handler in zip(numbers, before):
                signal.signal(number, handler)

    def _received(self, number, frame):
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        self._signal = signal.Signals(number).name
        if not self.between_steps:
            raise _StopNow


class Progress:
    """The state of training between two steps of an epoch.

    Args:
        epoch: Int, number of finished epochs.
        step: Int, number of finished steps of the next epoch.
        arrays: Dict of arrays, the values of all variables of the model and
            the optimizer, and the metrics of the epoch so far.
        path: Path of the file that they were read from, or None.
    """

    def __init__(self, epoch, step, arrays, path=None):
        self.epoch, self.step, self.arrays = epoch, step, arrays
        self._path = path

    @classmethod
    def of(cls, model, epoch, step):
        """Copies the state of a compiled model in training."""
        variables = {**_state(model), **_metrics(model)}
        return cls(
            epoch,
            step,
            {name: np.array(value) for name, value in variables.items()},
        )

    def restore(self, model):
        """Restores the variables of a model and its optimizer.

        Raises:
            InputError: The state belongs to another model.
        """
        self._assign(_state(model))

    def restore_metrics(self, model):
        """Restores the metrics, which `fit` clears before an epoch."""
        self._assign(_metrics(model))

    def _assign(self, variables):
        for name, variable in variables.items():
            array = self.arrays.get(name)
            dtype = keras.backend.standardize_dtype(variable.dtype)
            # Files of NumPy know only how many bytes a bfloat16 has.
            if dtype == "bfloat16" and getattr(array, "dtype", None) == "V2":
                self.arrays[name] = array = array.view(dtype)
            if (
                array is None
                or array.shape != tuple(variable.shape)
                or str(array.dtype) != dtype
            ):
                raise InputError(
                    f"checkpoint {self._path} belongs to another model. "
                    "Delete it, and the run resumes from an earlier state"
                )
        for name, variable in variables.items():
            variable.assign(self.arrays[name])


def _state(model):
    variables = [*model.variables, *model.built_optimizer().variables]
    return {f"state_{number}": each for number, each in enumerate(variables)}


def _metrics(model):
    variables = model.metrics_variables
    return {f"metrics_{number}": each for number, each in enumerate(variables)}


class Interruption(keras.callbacks.Callback):
    """Saves a run in the middle of an epoch, and stops it on request.

    A run that is stopped during the validation after an epoch is saved in its
    state before that epoch's last step, because Keras has cleared the training
    metrics by then.

    Place it after the callbacks that write the checkpoints of epochs.

    Args:
        request: `StopRequest`.
        folder: `keras_ffl.workdir.Workdir`.
        devices: `keras_ffl.backend.devices.Devices` of the run. All processes
            stop after the same step.
        steps: Integer array (calls, 2), the epoch's steps in each of Keras'
            steps: the first and the one after the last.
        every_minutes: Number > 0, interval between saves in training, or
            None.
        progress: `Progress` from which the first epoch starts, or None.

    Raises:
        Unfinished: The run was stopped on request and has been saved.
    """

    def __init__(
        self,
        request,
        folder,
        devices,
        steps,
        every_minutes=None,
        progress=None,
    ):
        super().__init__()
        self._request, self._folder = request, folder
        self._devices, self._steps = devices, steps
        self._every = 60 * every_minutes if every_minutes else float("inf")
        self._progress = progress
        self._saved = time.monotonic()
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = None
        # All processes count the same steps until they agree.
        self._steps_taken, self._steps_apart = 0, 1
        self._last_agreement = time.monotonic()

    def close(self):
        """Waits for pending writes."""
        self._request.between_steps = False
        self._writer.shutdown()

    def on_train_begin(self, logs=None):
        self._request.between_steps = True
        self._in_a_call = self.model.steps_per_execution

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._progress is not None:
            self._progress.restore_metrics(self.model)
            self._progress = None

    def on_train_batch_begin(self, batch, logs=None):
        if batch + self._in_a_call >= len(self._steps):
            self._before_last = self._now(self._steps[batch, 0])

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == len(self._steps):
            return
        stop, save = self._agreed()
        if stop or save:
            progress = self._now(self._steps[batch, 1])
            self._write(progress)
            if stop:
                self._stop(f"step {progress.step} of")

    def on_test_begin(self, logs=None):
        self._wait()

    def on_test_batch_end(self, batch, logs=None):
        # A start that has made a single step would come no further next time.
        first = self._before_last.step == self._steps[0, 0]
        if self._agreed(signals_only=first)[0]:
            self._write(self._before_last)
            self._stop(f"step {self._before_last.step} of")

    def on_epoch_end(self, epoch, logs=None):
        # After the last epoch nobody looks again: signals stop it at once.
        self._request.between_steps = epoch + 1 < self.params["epochs"]
        if self._agreed(at_once=True)[0]:
            self._stop("")

    def _now(self, step):
        return Progress.of(self.model, self._epoch, int(step))

    def _agreed(self, at_once=False, signals_only=False):
        """Whether to stop and whether to save, the same in all processes."""
        asked = [
            self._request.reason is not None
            and (self._request.by_signal or not signals_only),
            time.monotonic() - self._saved > self._every,
        ]
        processes = self._devices.process.total
        if processes == 1:
            return asked
        self._steps_taken += 1
        if self._steps_taken < self._steps_apart and not at_once:
            return False, False
        now = time.monotonic()
        seconds = (now - self._last_agreement) / self._steps_taken
        *votes, seconds = self._devices.sum_over_processes(
            np.array([*asked, seconds], "float64")
        )
        # The mean is the same number in all processes.
        steps = _SECONDS * processes / max(seconds, 1e-9)
        self._steps_apart = int(min(max(steps, 1), _STEPS))
        self._steps_taken, self._last_agreement = 0, now
        return [vote > 0 for vote in votes]

    def _write(self, progress):
        # Training waits for an earlier file, but not for this one.
        self._wait()
        self._saved = time.monotonic()
        if self._devices.chief:
            self._writing = self._writer.submit(
                self._folder.save_progress,
                progress.arrays,
                progress.epoch,
                progress.step,
            )

    def _wait(self):
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _stop(self, step):
        self._wait()
        reason = self._request.reason or "another worker was asked to stop"
        raise Unfinished(
            f"{self._folder.path}: stopped after "
            f"{step}{' ' if step else ''}epoch {self._epoch + 1}, since "
            f"{reason}; the same command resumes"
        )
