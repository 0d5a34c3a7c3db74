"""Runs of one configuration that differ by their seed, trained at once.

On an accelerator a small network leaves most of the device idle. Here one
program trains it from several seeds: each step is made for all of them, by
`jax.vmap`. Everything else is as if each seed had been trained by itself.
"""

import contextlib
import dataclasses
import pathlib
import time
from typing import Any

import keras
import numpy as np

from keras_ffl import backend, data
from keras_ffl.backend.jax_seeds import StepsOfSeeds, give_state, state_of
from keras_ffl.builders import find_method
from keras_ffl.callbacks import TimeLimit
from keras_ffl.config import Config
from keras_ffl.data.in_memory import BatchesOfSeeds
from keras_ffl.distribution import count_devices, make_strategy
from keras_ffl.errors import InputError, TrainingDiverged, Unfinished
from keras_ffl.methods.base import EpochCounter
from keras_ffl.training.fit_arguments import fit_arguments, run_callbacks
from keras_ffl.training.parts import build_model, load_data
from keras_ffl.training.results import (
    closing,
    monitored_accuracy,
    results,
    writers,
)
from keras_ffl.training.single import settings
from keras_ffl.workdir import Workdir


def parse_seeds(text):
    """Seeds from a text such as "0,1,2".

    Args:
        text: Str.

    Returns:
        List of ints.

    Raises:
        InputError: They are no whole numbers >= 0 that differ.
    """
    numbers = text.split(",")
    seeds = [int(number) for number in numbers if number.strip().isdecimal()]
    if len(set(seeds)) < len(numbers):
        raise InputError(
            "`seeds` must be whole numbers >= 0 that differ, such as 0,1,2, "
            f"got {text!r}"
        )
    return seeds


def workdir_of_seed(workdir, seed):
    """The folder of one of the runs.

    Args:
        workdir: Path that all of them have in common.
        seed: Int.

    Returns:
        Path, str. With `ROOT/<configuration_name>` it is that of a cell of
        `keras_ffl.reproduction`.
    """
    return f"{pathlib.Path(workdir)}_seed{seed}"


def train_seeds(
    config, seeds, workdir, verbose=1, strategy="auto", max_minutes=None
):
    """Trains a configuration with several seeds at once, on JAX.

    Every seed has a folder of its own, and what comes to stand in it is, but
    for rounding, what `keras_ffl.training.train` would write, so that either
    can go on with it. Seeds that are finished are left alone; all others go
    on from the last epoch that they have in common.

    Args:
        config: `keras_ffl.config.Config`. Its seed isn't used.
        seeds: List of ints.
        workdir: Path; each seed's folder is `workdir_of_seed`.
        verbose: 0 for silence, 1 for progress bars, 2 for a line an epoch.
        strategy: As of `keras_ffl.training.train`, of one device only.
        max_minutes: As there.

    Returns:
        Dict from seed to the content of its `metrics.json`.

    Raises:
        Unfinished: Training stopped before its last epoch, since the time
            was up.
        InputError: The configuration, the data, the folders, the devices or
            the seeds are no good, or the seeds have trained for different
            numbers of epochs.
        TrainingDiverged: The loss of a seed became NaN or infinite.
    """
    limit = TimeLimit(max_minutes) if max_minutes is not None else None
    _check(config, seeds)
    if config.deterministic:
        backend.make_deterministic()
    devices = make_strategy(strategy)
    if count_devices(devices) > 1:
        raise InputError(
            "several `seeds` at once train on one device: `strategy` must be "
            f"one, got {strategy} with {count_devices(devices)} devices"
        )
    runs = [
        _Run(
            dataclasses.replace(config, seed=seed),
            Workdir(workdir_of_seed(workdir, seed)),
        )
        for seed in seeds
    ]
    with settings(config), data.naming_unreadable():
        return _train(runs, verbose, devices, limit)


def _check(config, seeds):
    if keras.backend.backend() != "jax":
        raise InputError(
            "several `seeds` at once need Keras' backend jax (environment "
            f"variable KERAS_BACKEND), got {keras.backend.backend()}"
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"`seeds` must be different numbers, got {seeds}")
    if config.warmup_epochs:
        raise InputError(
            "`warmup_epochs` must be 0 with several `seeds` at once, got "
            f"{config.warmup_epochs}"
        )
    find_method(config)


@dataclasses.dataclass
class _Run:
    """The run of one seed.

    Attributes:
        config: `keras_ffl.config.Config` with this seed.
        folder: `keras_ffl.workdir.Workdir`.
        state: State as in `keras_ffl.backend.jax_seeds`.
        callbacks: `keras.callbacks.CallbackList`.
    """

    config: Config
    folder: Workdir
    state: Any = None
    callbacks: Any = None

    def call_back(self, event, model, *arguments):
        """Lets the callbacks see the model in this run's state."""
        give_state(model, self.state)
        with _naming(self.config.seed):
            getattr(self.callbacks, event)(*arguments)
        self.state = state_of(model)


@contextlib.contextmanager
def _naming(seed):
    """Within it an error says which seed diverges."""
    try:
        yield
    except TrainingDiverged as error:
        raise TrainingDiverged(
            f"seed {seed}: {error}. The same command without this seed goes "
            "on with the others"
        ) from error


def _train(runs, verbose, devices, limit):
    for run in runs:
        run.folder.check(run.config)
    config = runs[0].config
    dataset, holdout = load_data(config)
    if not isinstance(dataset, data.Dataset):
        raise InputError(
            "several `seeds` at once train on images in memory, got dataset "
            f"{config.dataset}"
        )
    waiting = [run for run in runs if not _finished(run)]
    if waiting:
        _finish(waiting, dataset, holdout, verbose, devices, limit)
    return {run.config.seed: run.folder.read_metrics() for run in runs}


def _finished(run):
    epochs = run.config.epochs
    return epochs in run.folder.checkpoint_files() and (
        run.folder.finished(epochs)
    )


def _finish(runs, dataset, holdout, verbose, devices, limit):
    """Trains all runs to their end and writes their results."""
    config = runs[0].config
    model, done = _restored(runs)
    if model is None:
        model = _initialized(runs, dataset.info)
    arguments = fit_arguments(config, dataset, holdout, done, devices)
    for run in runs:
        run.folder.start(run.config, dataset.info)
        run.folder.cut_to(done)
    seconds = None
    if done < config.epochs:
        if done and verbose:
            print(f"all seeds: going on after epoch {done}", flush=True)
        started = time.monotonic()
        trained = _fit(model, runs, arguments, verbose, limit)
        if trained < config.epochs:
            raise Unfinished(
                f"the time was up after epoch {trained} of {config.epochs}; "
                "the same command goes on"
            )
        seconds = (time.monotonic() - started) / (config.epochs - done)
    for run in runs:
        give_state(model, run.state)
        metrics = results(
            model,
            run.config,
            run.folder,
            dataset,
            # A seed's part of what they took together.
            seconds and seconds / len(runs),
            verbose,
            devices,
        )
        run.folder.write_metrics({**metrics, "seeds_at_once": len(runs)})


# ----- initial states -------------------------------------------------------


def _initialized(runs, info):
    """Gives each run its initial state; returns a model for all of them."""
    for run in runs:
        keras.utils.set_random_seed(run.config.seed)
        model = build_model(run.config, info)
        run.state = state_of(model)
    return model


def _restored(runs):
    """Gives each run the state of the last epoch that all have saved.

    A program that dies while it saves leaves some seeds an epoch behind.

    Returns:
        Tuple of a model and the number of finished epochs, or (None, 0).
    """
    newest = found = [_load(run) for run in runs]
    while len({done for _, done in found}) > 1:
        least = min(done for _, done in found)
        found = [_load(run, least) for run in runs]
    model, done = found[0]
    if max(epochs for _, epochs in newest) > done + 1:
        listed = ", ".join(
            f"{epochs} in {run.folder.path}"
            for run, (_, epochs) in zip(runs, newest, strict=True)
        )
        raise InputError(
            "`seeds` must have finished the same number of epochs to go on "
            f"at once, got {listed}; train those behind by themselves"
        )
    return model, done


def _load(run, at_most=None):
    model, done = run.folder.load_checkpoint(at_most)
    if model is not None:
        run.state = state_of(model)
    return model, done


# ----- training -------------------------------------------------------------


def _fit(model, runs, arguments, verbose, limit):
    """What `fit` does, for all runs at once.

    Returns:
        Int, the number of finished epochs.
    """
    config, calls = runs[0].config, arguments["steps_per_epoch"]
    batches = BatchesOfSeeds(arguments["x"], [run.config.seed for run in runs])
    steps = StepsOfSeeds(model, arguments["x"][0], batches.axes)
    for run in runs:
        run.callbacks = _callbacks(model, run, calls)
    if limit:
        limit.set_model(model)
    model.stop_training = False
    with closing([c for run in runs for c in run.callbacks.callbacks]):
        for run in runs:
            run.call_back("on_train_begin", model)
        for epoch in range(arguments["initial_epoch"], config.epochs):
            if limit:
                limit.on_epoch_begin(epoch)
            if verbose:
                print(f"Epoch {epoch + 1}/{config.epochs}", flush=True)
            _train_epoch(model, runs, steps, batches, arguments, epoch, verbose)
            if limit:
                limit.on_epoch_end(epoch)
            if model.stop_training:
                break
        for run in runs:
            run.call_back("on_train_end", model)
    return epoch + 1


def _callbacks(model, run, calls):
    # The last two checkpoints stay: another seed may be an epoch behind.
    keep = max(run.config.keep_checkpoints, 2)
    config = dataclasses.replace(run.config, keep_checkpoints=keep)
    return keras.callbacks.CallbackList(
        [
            # First, so that what the others save counts the epoch as done.
            EpochCounter(),
            *run_callbacks(config, calls),
            *writers(model, config, run.folder),
        ],
        model=model,
    )


def _train_epoch(model, runs, steps, batches, arguments, epoch, verbose):
    for run in runs:
        run.call_back("on_epoch_begin", model, epoch)
    calls = arguments["steps_per_epoch"]
    first = (epoch - arguments["initial_epoch"]) * calls
    state = steps.stacked([run.state for run in runs])
    elements = (batches[first + call] for call in range(calls))
    shown = keras.utils.Progbar(
        calls, verbose=verbose, stateful_metrics=["loss"]
    )
    for call, (state, logs) in enumerate(steps.train(state, elements)):
        losses = np.asarray(logs["loss"])
        for run, loss in zip(runs, losses, strict=True):
            with _naming(run.config.seed):
                run.callbacks.on_train_batch_end(call, {"loss": loss})
        shown.update(call + 1, [("loss", losses.mean())], finalize=False)
    validation = arguments["validation_data"]
    evaluated = steps.evaluate(
        state, (validation[k] for k in range(len(validation)))
    )
    logs = {**logs, **{f"val_{name}": v for name, v in evaluated.items()}}
    logs = {name: np.asarray(values) for name, values in logs.items()}
    monitor = monitored_accuracy(model)
    shown.update(calls, [(monitor, logs[monitor].mean())], finalize=True)
    states = steps.separate(state, len(runs))
    for k, (run, run.state) in enumerate(zip(runs, states, strict=True)):
        own = {name: float(values[k]) for name, values in logs.items()}
        run.call_back("on_epoch_end", model, epoch, own)
