"""A run from its configuration to its results.

The only module that knows all the others: data, method, optimizer and
callbacks come together here.
"""

import contextlib
import importlib.metadata
import json
import time
import warnings
import zlib

import keras
import numpy as np

import keras_ffl
from keras_ffl import backend, data
from keras_ffl.builders import find_method
from keras_ffl.callbacks import Checkpoints, StopOnDivergence, TimeLimit, WarmUp
from keras_ffl.distribution import (
    check_same,
    count_devices,
    distribute,
    evaluation_batch_size,
    is_chief,
    make_strategy,
    naming_lost_workers,
    needs_static_shapes,
    process_of,
    running_on,
    slices_of_replicas,
    static_evaluation_batch_size,
    sum_over_workers,
)
from keras_ffl.errors import InputError, Unfinished
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.layers.batch_normalization import synchronized_batch_norm
from keras_ffl.models import count_multiply_adds, count_parameters
from keras_ffl.optimizers import SGD
from keras_ffl.schedules import Cosine, Steps
from keras_ffl.visualization import plot_curves
from keras_ffl.workdir import Workdir


def train(config, workdir, verbose=1, strategy="auto", max_minutes=None):
    """Trains, evaluates and documents a run; goes on where it stopped.

    Args:
        config: `keras_ffl.config.Config`.
        workdir: Path of the run's folder. If it holds a run of the same
            configuration, the run is taken up after its last checkpoint.
        verbose: 0 for silence, 1 for progress bars, 2 for a line an epoch.
        strategy: Devices to train on, a name of
            `keras_ffl.distribution.make_strategy`. It changes the result by
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
    devices = make_strategy(strategy)
    with (
        _settings(config),
        running_on(devices),
        data.naming_unreadable(),
        naming_lost_workers(devices),
    ):
        return _train(config, Workdir(workdir), verbose, devices, limit)


@contextlib.contextmanager
def _settings(config):
    """The global settings of a run; the dtype policy is put back after."""
    keras.utils.set_random_seed(config.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _train(config, folder, verbose, devices, limit):
    find_method(config)
    _check_batches(config, devices)
    folder.check(config)
    dataset, holdout = load_data(config, folder.left_out())
    with devices.scope():
        model, done = folder.load_checkpoint()
        if model is None:
            model = build_model(config, dataset.info)
    check_same(devices, done, f"the last checkpoint in {folder.path}")
    check_same(devices, dataset.num_train, "the number of training images")
    check_same(devices, _number_of(config), "the configuration's hash")
    arguments = _fit_arguments(config, dataset, holdout, done, devices)
    chief = is_chief(devices)
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
                sum_over_workers(devices, np.array([float(late)]))[0]
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
    metrics = _results(
        model, config, folder, dataset, seconds, verbose, devices
    )
    if chief:
        folder.write_metrics(metrics)
    return metrics


def _number_of(config):
    """A number that differs where configurations do, folders aside."""
    fields = {**config.to_dict(), "data_dir": None}
    return zlib.crc32(json.dumps(fields).encode()) % 2**20


def _check_batches(config, devices):
    """An InputError where batches don't fit the replicas."""
    replicas = devices.num_replicas_in_sync
    if config.batch_size % replicas:
        raise InputError(
            f"`batch_size` must be a multiple of the {replicas} replicas, got "
            f"{config.batch_size}"
        )


# ----- parts of a run ----------------------------------------------------


def load_data(config, left_out=None):
    """The data set of a configuration and its held-out part.

    Args:
        config: `keras_ffl.config.Config`.
        left_out: Names of the photos that the run's first start found to be
            unreadable, or None if they are still to be found.

    Returns:
        Tuple of the data set, whose training split lacks the held-out part,
        and one whose test split is the held-out part, or None.

    Raises:
        InputError: The data set is unknown or can't be loaded.
    """
    photos = data.PhotoOptions(
        config.image_size, config.verify_images, config.strict, left_out
    )
    dataset = data.load(config.dataset, config.data_dir, photos)
    return data.split_holdout(dataset, config.holdout)


def build_model(config, info):
    """The compiled model of a configuration.

    Args:
        config: `keras_ffl.config.Config`.
        info: `keras_ffl.data.DatasetInfo`.

    Returns:
        Compiled `keras_ffl.methods.TrainingMethod`.

    Raises:
        InputError: The method or a network is unknown, or the options don't
            fit together.
    """
    method = find_method(config)
    with synchronized_batch_norm(config.synchronized_batch_norm):
        model = method.build(config, info.num_classes, info.input_shape)
    model.compile(
        optimizer=SGD(
            learning_rate=_full_rate(config),
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            weight_decay_groups={"fusion": config.fusion_weight_decay},
            global_clipnorm=config.global_clipnorm,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
        ),
        metrics=["accuracy"],
        # Data on the device come as several steps already.
        steps_per_execution=1
        if backend.DATA_ON_DEVICE
        else config.steps_per_execution,
    )
    return model


def _augmentation(config, info):
    return data.Augmentation(
        pad=config.pad,
        padding=config.padding,
        flip=info.flip if config.flip is None else config.flip,
        cutout=config.cutout,
        randaugment=config.randaugment,
        mixup=config.mixup,
        cutmix=config.cutmix,
        label_smoothing=config.label_smoothing,
    )


def _full_rate(config):
    """The initial rate, scaled to the batch size where that is asked for."""
    if config.lr_base_batch is None:
        return config.learning_rate
    return config.learning_rate * config.batch_size / config.lr_base_batch


def _rate_callbacks(config, steps):
    """What sets the learning rate of every epoch, and of the warm-up."""
    rate = _full_rate(config)
    if config.lr_schedule == "cosine":
        schedule = Cosine(rate, config.epochs)
    else:
        schedule = Steps(rate, config.lr_milestones, config.lr_factor)
    callbacks = [keras.callbacks.LearningRateScheduler(schedule)]
    if config.warmup_epochs:
        callbacks.append(WarmUp(schedule, config.warmup_epochs, steps))
    return callbacks


def _steps_per_call(config, dataset):
    """Steps that run on the device without coming back to Python."""
    if config.steps_per_execution > 1 or not backend.has_accelerator():
        return config.steps_per_execution
    return data.steps_per_call(dataset.num_train, config.batch_size)


def _fit_arguments(config, dataset, holdout, done, devices):
    """What `fit` is given besides the callbacks that write files."""
    augmentation = _augmentation(config, dataset.info)
    replicas = devices.num_replicas_in_sync
    static = needs_static_shapes(devices)
    steps = data.steps_per_epoch(
        dataset.num_train, config.batch_size, static, replicas
    )
    if not steps:
        least = config.batch_size if static else replicas
        raise InputError(
            f"`dataset` must have at least {least} training images for these "
            f"devices and this batch size, got {dataset.num_train}"
        )
    options = {}
    if backend.DATA_ON_DEVICE and isinstance(dataset, data.Dataset):
        options["steps_per_call"] = _steps_per_call(config, dataset)
    elif steps % config.steps_per_execution:
        raise InputError(
            f"`steps_per_execution` must divide the {steps} steps of an "
            f"epoch, got {config.steps_per_execution}"
        )
    train_batches = distribute(
        devices,
        lambda part: dataset.training_batches(
            config.batch_size,
            config.seed,
            augmentation,
            initial_epoch=done,
            epochs=config.epochs,
            part=part,
            **options,
        ),
        smallest=replicas,
        static_size=config.batch_size if static else None,
    )
    # Keras takes one call of a compiled function for a step.
    steps = getattr(train_batches, "calls_per_epoch", steps)
    held_out = holdout or dataset
    validation = _validation(
        config, held_out, augmentation.softens_labels, devices
    )
    return {
        "x": train_batches,
        "steps_per_epoch": steps,
        "initial_epoch": done,
        "epochs": config.epochs,
        **validation,
        "shuffle": False,  # The batches come shuffled.
        "callbacks": [*_rate_callbacks(config, steps), StopOnDivergence(steps)],
    }


def _validation(config, dataset, one_hot, devices):
    """What `fit` is given to evaluate the test split after every epoch."""
    images, replicas = len(dataset.y_test), devices.num_replicas_in_sync
    static = needs_static_shapes(devices)
    choose = static_evaluation_batch_size if static else evaluation_batch_size
    size = choose(images, config.eval_batch_size, replicas)
    if static and images % size:
        warnings.warn(
            f"validation after each epoch leaves out {images % size} of "
            f"{images} images, which fill no batch of {size}; metrics.json "
            "counts all of them",
            stacklevel=2,
        )
    batches = distribute(
        devices,
        lambda part: dataset.evaluation_batches(
            size, one_hot=one_hot, part=part
        ),
        static_size=size if static else None,
    )
    return {
        "validation_data": batches,
        "validation_steps": images // size if static else None,
    }


def _fit(model, config, folder, arguments, verbose, chief):
    # The other workers have the same logs and weights; one writes them.
    writers = _writers(model, config, folder) if chief else []
    callbacks = [*arguments["callbacks"], *writers]
    try:
        model.fit(
            **{**arguments, "callbacks": callbacks},
            verbose=verbose if chief else 0,
        )
    finally:
        for callback in writers:
            # Keras closes the file only when training comes to its end.
            if getattr(callback, "csv_file", None):
                callback.csv_file.close()


def _writers(model, config, folder):
    """The callbacks that write into the run's folder."""
    monitor = _monitored_accuracy(model)
    best = _best_row(folder)
    return [
        # The history is written before the checkpoint: what is ahead of it
        # when a run dies is cut off when it goes on.
        keras.callbacks.CSVLogger(folder.history, append=True),
        *(
            [keras.callbacks.TensorBoard(folder.logs, write_graph=False)]
            if backend.TENSORBOARD
            else []
        ),
        Checkpoints(
            folder, monitor, best and best[monitor], config.keep_checkpoints
        ),
    ]


def _monitored_accuracy(model):
    """Name under which `fit` logs the accuracy that decides what is best."""
    if len(model.heads) == 1:
        return "val_accuracy"
    return f"val_{model.primary_head}_accuracy"


def _best_row(folder):
    """The row of the history that the best checkpoint belongs to, or None."""
    epochs = folder.best_epochs()
    rows = {int(row["epoch"]) + 1: row for row in folder.read_history()}
    return rows.get(epochs)


def _evaluated(model, config, folder, dataset, verbose, devices):
    """Errors of all heads on the test split, of the last epoch's model.

    Each process evaluates its part, and the counts are added up.
    """
    if devices.num_replicas_in_sync > 1:
        # On one device, since the parts of the test split may differ in size.
        # The first check waits for worker 0 to have saved it.
        check_same(devices, config.epochs, "the number of epochs")
        model, epochs = folder.load_checkpoint()
        check_same(devices, epochs, f"the last checkpoint in {folder.path}")
    process = process_of(devices)
    images = len(dataset.y_test)
    batch = evaluation_batch_size(images, config.eval_batch_size, process.total)
    rows = process.rows(images, batch)
    return evaluate_heads(
        model,
        dataset.evaluation_batches(
            batch,
            part=lambda batches: slices_of_replicas(batches, process),
        ),
        dataset.y_test[rows],
        verbose,
        add_up=lambda counts: sum_over_workers(devices, counts),
    )


def _results(model, config, folder, dataset, seconds, verbose, devices):
    """The content of `metrics.json`, of the last epoch's model."""
    heads = _evaluated(model, config, folder, dataset, verbose, devices)
    history = folder.read_history()
    if history and is_chief(devices):
        plot_curves(history, folder.curves)
    monitor = _monitored_accuracy(model)
    best = _best_row(folder)
    return {
        "heads": heads,
        "best": best
        and {
            "head": model.primary_head,
            "split": "holdout" if config.holdout else "test",
            "epoch": int(best["epoch"]) + 1,
            "top1_error": round(100 * (1 - best[monitor]), 4),
        },
        "split": "test",
        "epoch": config.epochs,
        "steps": int(model.optimizer.iterations.numpy()),
        "seed": config.seed,
        "method": config.method,
        "dataset": config.dataset,
        "networks": list(config.networks),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "seconds_per_epoch": seconds,
        "replicas": count_devices(devices),
        "versions": {
            "keras_ffl": keras_ffl.__version__,
            **{
                name: importlib.metadata.version(name)
                for name in backend.PACKAGES
            },
        },
    }
