"""A single run, from configuration to results."""

import contextlib
import json
import time
import zlib

import keras
from absl import logging

from keras_ffl import backend, data
from keras_ffl.config import Config
from keras_ffl.errors import InputError
from keras_ffl.folder_lock import locked
from keras_ffl.training.fit_arguments import check_batches, fit_arguments
from keras_ffl.training.interruption import Interruption, Progress, StopRequest
from keras_ffl.training.memory_estimate import check_memory
from keras_ffl.training.parts import build_model, load_data
from keras_ffl.training.results import progress_line, results, writers
from keras_ffl.training.trained import check_data
from keras_ffl.workdir import Workdir


def train(
    config,
    workdir,
    verbose=1,
    strategy="auto",
    max_minutes=None,
    save_every_minutes=None,
):
    """Trains, evaluates and documents a run, or resumes it where it stopped.

    SIGTERM, SIGINT and the end of `max_minutes` stop training after the
    current step, with a checkpoint; a second signal ends the process at once.

    Args:
        config: `keras_ffl.config.Config`.
        workdir: Path of the run's folder. If it holds a run of the same
            configuration, the run is resumed after its last checkpoint.
        verbose: 0 for silence, 1 for a progress line and the values of every
            epoch, 2 for Keras' progress bars.
        strategy: Devices to train on, a name for
            `keras_ffl.backend.make_devices`. With `synchronized_batch_norm`
            it only changes rounding errors. Several workers share the folder.
        max_minutes: Number > 0, counted from the call, or None for no limit.
        save_every_minutes: Number > 0, interval between saves in the middle of
            an epoch, or None to save only after epochs.

    Returns:
        Dict, the content of `metrics.json`.

    Raises:
        Unfinished: Training was stopped before its end.
        InputError: The configuration, the data, the folder or the devices
            can't be used, or another process is training in the folder.
        TrainingDiverged: The loss became NaN or infinite.
        WorkerLost: Another worker process has ended or can't be reached.
    """
    if not isinstance(config, Config):
        raise InputError(
            "`config` must be a Config, such as keras_ffl.preset(name), got "
            f"{config!r}"
        )
    request = StopRequest(max_minutes)
    if save_every_minutes is not None and not save_every_minutes > 0:
        raise InputError(
            f"`save_every_minutes` must be > 0, got {save_every_minutes}"
        )
    if config.deterministic:
        # Before the devices: JAX reads this setting when it starts.
        backend.make_deterministic()
    devices = backend.make_devices(strategy)
    with (
        settings(config),
        data.naming_unreadable(),
        devices.running(),
        request.listening(),
    ):
        config.check()
        for sentence in config.beyond_the_end():
            logging.warning(sentence)
        check_batches(config, devices)
        folder = Workdir(workdir)
        folder.check(config)
        # The other workers only read the folder.
        with locked(folder.path) if devices.chief else contextlib.nullcontext():
            # Another process may have used it until now.
            folder.check(config)
            return _train(
                config, folder, verbose, devices, request, save_every_minutes
            )


@contextlib.contextmanager
def settings(config):
    """Context with a run's global settings; restores the dtype policy.

    Raises:
        InputError: The backend lacks the dtype.
    """
    if config.dtype_policy == "float64" and not backend.has_float64():
        raise InputError(
            "`dtype_policy` float64 needs the environment variable "
            "JAX_ENABLE_X64=1; without it JAX computes in float32"
        )
    keras.utils.set_random_seed(config.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _train(config, folder, verbose, devices, request, save_every_minutes):
    dataset, holdout = load_data(config, folder.left_out())
    with devices.scope():
        model, done = folder.load_checkpoint()
        if model is None:
            check_memory(
                config, dataset.info, dataset.num_train, devices.process.total
            )
            model = build_model(config, dataset.info)
        check_data(folder, dataset, model, training=True)
        progress = _progress(folder, model, done)
    step = progress.step if progress else 0
    devices.check_same(done, f"the last checkpoint in {folder.path}")
    devices.check_same(step, f"the last checkpoint in {folder.path}")
    devices.check_same(dataset.num_train, "the number of training images")
    devices.check_same(_number_of(config), "the configuration's hash")
    parts = [fit_arguments(config, dataset, holdout, done, devices, step)]
    if step and done + 1 < config.epochs:
        parts.append(fit_arguments(config, dataset, holdout, done + 1, devices))
    steps = [step + parts[0]["x"].calls] + [p["x"].calls for p in parts[1:]]
    if progress and devices.replicas == 1:
        # With several replicas, `fit` builds them before its first epoch.
        model.build_metrics(next(iter(parts[0]["x"]))[1])
        progress.restore_metrics(model)
    # Done here, so that unreadable data don't leave a started run behind.
    for part in parts:
        for name in ("x", "validation_data"):
            part[name] = model.feed(part[name])
    finished = done == config.epochs and folder.finished(done)
    chief = devices.chief
    if chief:
        # From here on the folder belongs to this configuration.
        folder.start(config, dataset.counted)
        folder.cut_to(done)
    if finished:
        return folder.read_metrics()
    seconds = None
    if done < config.epochs:
        if (done or step) and verbose and chief:
            after = (
                f"step {step} of epoch {done + 1}" if step else f"epoch {done}"
            )
            print(f"{folder.path}: resumed after {after}", flush=True)
        started = time.monotonic()
        for part, of_part in zip(parts, steps):
            last = [
                Interruption(
                    request,
                    folder,
                    devices,
                    of_part,
                    save_every_minutes,
                    progress,
                )
            ]
            progress = None
            if chief and verbose == 1:
                # An epoch that is shown has been saved.
                last.insert(0, progress_line(model, config, of_part))
            with contextlib.ExitStack() as stack:
                for each in last:
                    stack.enter_context(contextlib.closing(each))
                _fit(model, config, folder, part, verbose, chief, last)
        finished = done + step / steps[0][-1, 1]
        seconds = (time.monotonic() - started) / (config.epochs - finished)
    metrics = results(model, config, folder, dataset, seconds, verbose, devices)
    if chief:
        folder.write_metrics(metrics)
    return metrics


def _progress(folder, model, done):
    """Finds the state in which training stopped within an epoch, or None.

    Restores it in the model, except for the metrics.
    """
    for path, step in folder.progress_files(done).items():
        try:
            progress = Progress(done, step, folder.read_arrays(path), path)
            progress.restore(model)
            return progress
        except InputError as error:
            logging.warning("%s; trying the one before", error)
    return None


def _number_of(config):
    """A hash of a configuration without its folders."""
    fields = {**config.to_dict(), "data_dir": None}
    return zlib.crc32(json.dumps(fields).encode()) % 2**20


def _fit(model, config, folder, arguments, verbose, chief, last=()):
    # The other workers have the same logs and weights; one writes them.
    writing = writers(model, config, folder) if chief else []
    callbacks = [*arguments["callbacks"], *writing, *last]
    model.fit(
        **{**arguments, "callbacks": callbacks},
        verbose=int(verbose == 2 and chief),
    )
