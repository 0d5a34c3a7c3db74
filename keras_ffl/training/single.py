"""One run from its configuration to its results."""

import contextlib
import json
import time
import zlib

import keras
import numpy as np

from keras_ffl import backend, data
from keras_ffl.callbacks import TimeLimit
from keras_ffl.errors import Unfinished
from keras_ffl.training.fit_arguments import check_batches, fit_arguments
from keras_ffl.training.memory_estimate import check_memory
from keras_ffl.training.parts import build_model, load_data
from keras_ffl.training.results import closing, results, writers
from keras_ffl.workdir import Workdir


def train(config, workdir, verbose=1, strategy="auto", max_minutes=None):
    """Trains, evaluates and documents a run; goes on where it stopped.

    Args:
        config: `keras_ffl.config.Config`.
        workdir: Path of the run's folder. If it holds a run of the same
            configuration, the run is taken up after its last checkpoint.
        verbose: 0 for silence, 1 for progress bars, 2 for a line an epoch.
        strategy: Devices to train on, a name of
            `keras_ffl.backend.make_devices`. It changes the result by
            rounding errors only, given `synchronized_batch_norm`. Several
            workers share the folder.
        max_minutes: Number > 0. Training stops after the last epoch that is
            likely to fit into this time, counted from the call, or after one
            epoch; None for no limit.

    Returns:
        Dict, the content of `metrics.json`.

    Raises:
        Unfinished: Training stopped before its last epoch, since the time
            was up.
        InputError: The configuration, the data, the folder or the devices
            are no good.
        TrainingDiverged: The loss became NaN or infinite.
        WorkerLost: Another worker process is gone.
    """
    limit = TimeLimit(max_minutes) if max_minutes is not None else None
    if config.deterministic:
        # Before the devices: JAX reads it when it starts.
        backend.make_deterministic()
    devices = backend.make_devices(strategy)
    with (
        settings(config),
        data.naming_unreadable(),
        devices.running(),
    ):
        return _train(config, Workdir(workdir), verbose, devices, limit)


@contextlib.contextmanager
def settings(config):
    """The global settings of a run; the dtype policy is put back after."""
    keras.utils.set_random_seed(config.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _train(config, folder, verbose, devices, limit):
    config.check()
    check_batches(config, devices)
    folder.check(config)
    dataset, holdout = load_data(config, folder.left_out())
    with devices.scope():
        model, done = folder.load_checkpoint()
        if model is None:
            check_memory(
                config, dataset.info, dataset.num_train, devices.process.total
            )
            model = build_model(config, dataset.info)
    devices.check_same(done, f"the last checkpoint in {folder.path}")
    devices.check_same(dataset.num_train, "the number of training images")
    devices.check_same(_number_of(config), "the configuration's hash")
    arguments = fit_arguments(config, dataset, holdout, done, devices)
    # Here already, so that data that can't be read are no run's yet.
    for name in ("x", "validation_data"):
        arguments[name] = model.feed(arguments[name])
    chief = devices.chief
    if chief:
        # From here on the folder belongs to this configuration.
        folder.start(config, dataset.info)
        folder.cut_to(done)
    if done == config.epochs and folder.finished(done):
        return folder.read_metrics()
    seconds = None
    if done < config.epochs:
        if done and verbose and chief:
            print(f"{folder.path}: going on after epoch {done}", flush=True)
        if limit:
            # All workers stop after the same epoch.
            limit.agreed = lambda late: bool(
                devices.sum_over_processes(np.array([float(late)]))[0]
            )
            arguments["callbacks"].append(limit)
        started = time.monotonic()
        _fit(model, config, folder, arguments, verbose, chief)
        trained = int(model.epochs_trained.numpy())
        if trained < config.epochs:
            raise Unfinished(
                f"{folder.path}: the time was up after epoch {trained} of "
                f"{config.epochs}; the same command goes on"
            )
        seconds = (time.monotonic() - started) / (config.epochs - done)
    metrics = results(model, config, folder, dataset, seconds, verbose, devices)
    if chief:
        folder.write_metrics(metrics)
    return metrics


def _number_of(config):
    """A number that differs where configurations do, folders aside."""
    fields = {**config.to_dict(), "data_dir": None}
    return zlib.crc32(json.dumps(fields).encode()) % 2**20


def _fit(model, config, folder, arguments, verbose, chief):
    # The other workers have the same logs and weights; one writes them.
    writing = writers(model, config, folder) if chief else []
    with closing(writing):
        model.fit(
            **{
                **arguments,
                "callbacks": [*arguments["callbacks"], *writing],
            },
            verbose=verbose if chief else 0,
        )
