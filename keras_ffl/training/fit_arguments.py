"""The arguments of `fit`: batches, and callbacks that write no files."""

import warnings

import keras

from keras_ffl import backend, data
from keras_ffl.callbacks import StopOnDivergence, WarmUp
from keras_ffl.errors import InputError
from keras_ffl.schedules import Cosine, Steps
from keras_ffl.training.parts import full_rate


def check_batches(config, devices):
    """Raises `InputError` if batches can't be divided among the replicas."""
    replicas = devices.replicas
    if config.batch_size % replicas:
        raise InputError(
            f"`batch_size` must be a multiple of the {replicas} replicas, got "
            f"{config.batch_size}"
        )


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


def run_callbacks(config, steps, numbers=None):
    """The callbacks of a run that write no files, a list.

    They set the learning rate of every epoch and of the warm-up, and stop on
    divergence.

    Args:
        config: `keras_ffl.config.Config`.
        steps: Int, steps per epoch.
        numbers: As in `keras_ffl.callbacks.WarmUp`.
    """
    rate = full_rate(config)
    if config.lr_schedule == "cosine":
        schedule = Cosine(rate, config.epochs)
    else:
        schedule = Steps(rate, config.lr_milestones, config.lr_factor)
    callbacks = [keras.callbacks.LearningRateScheduler(schedule)]
    if config.warmup_epochs:
        callbacks.append(WarmUp(schedule, config.warmup_epochs, steps, numbers))
    return [*callbacks, StopOnDivergence(steps, numbers)]


def _steps_per_call(config, dataset):
    """Steps that run on the device without returning to Python."""
    if config.steps_per_execution > 1 or not backend.has_accelerator():
        return config.steps_per_execution
    most = 64
    if config.warmup_epochs:
        # The rate of a warm-up grows with every call.
        steps = dataset.num_train / config.batch_size * config.warmup_epochs
        most = min(most, max(1, int(steps / 16)))
    return data.steps_per_call(dataset.num_train, config.batch_size, most)


def fit_arguments(config, dataset, holdout, done, devices, first_step=0):
    """The arguments of `fit`, except for callbacks that write files.

    Args:
        config: `keras_ffl.config.Config`.
        dataset: Data set to train on, from `load_data`.
        holdout: Data set to evaluate on after an epoch, or None.
        done: Int, the number of finished epochs.
        devices: Result of `make_devices`.
        first_step: Int, the number of finished steps of the next epoch. If it
            is not 0, the arguments cover the rest of that epoch.

    Returns:
        Dict of keyword arguments.

    Raises:
        InputError: The data set is too small, or its steps can't be divided.
    """
    augmentation = _augmentation(config, dataset.info)
    replicas = devices.replicas
    static = devices.static_shapes
    # A smaller batch would leave a replica without an example.
    smallest = config.batch_size if static else replicas
    steps = data.steps_per_epoch(dataset.num_train, config.batch_size, smallest)
    if not steps:
        raise InputError(
            f"`dataset` must have at least {smallest} training images for "
            f"these devices and this batch size, got {dataset.num_train}"
        )
    if first_step >= steps:
        raise InputError(
            f"`strategy` must leave more than {first_step} steps in an epoch, "
            f"because the run stopped at that step, got {steps} steps on "
            f"{replicas} devices; resume on as many as before"
        )
    accumulated = config.gradient_accumulation_steps or 1
    if steps * config.epochs < accumulated:
        raise InputError(
            "`gradient_accumulation_steps` must be at most "
            f"{steps * config.epochs}, the steps of the run, got {accumulated}"
        )
    epochs = done + 1 if first_step else config.epochs
    options = {}
    if backend.STEPS_IN_A_CALL and isinstance(dataset, data.Dataset):
        options["steps_per_call"] = _steps_per_call(config, dataset)
    elif backend.STEPS_IN_A_CALL and config.steps_per_execution > 1:
        raise InputError(
            "`steps_per_execution` must be 1 for photos on this backend, got "
            f"{config.steps_per_execution}"
        )
    elif steps % config.steps_per_execution:
        raise InputError(
            f"`steps_per_execution` must divide the {steps} steps of an "
            f"epoch, got {config.steps_per_execution}"
        )
    train_batches = dataset.training_batches(
        config.batch_size,
        config.seed,
        augmentation,
        initial_epoch=done,
        initial_step=first_step,
        epochs=epochs,
        smallest=smallest,
        views=config.options.number_of_views(config.networks),
        **options,
    )
    # Keras treats one call of a compiled function as a step.
    calls = train_batches.calls
    held_out = holdout or dataset
    validation = _validation(
        config, held_out, augmentation.softens_labels, devices
    )
    return {
        "x": train_batches,
        "steps_per_epoch": len(calls),
        "initial_epoch": done,
        "epochs": epochs,
        **validation,
        "shuffle": False,  # The batches are already shuffled.
        "callbacks": run_callbacks(config, steps, first_step + calls[:, 0]),
    }


def _validation(config, dataset, one_hot, devices):
    """The arguments of `fit` for validation after every epoch."""
    images, replicas = len(dataset.y_test), devices.replicas
    static = devices.static_shapes
    choose = (
        data.static_evaluation_batch_size
        if static
        else data.evaluation_batch_size
    )
    size = choose(images, config.eval_batch_size, replicas)
    if static and images % size:
        warnings.warn(
            f"validation after each epoch leaves out {images % size} of "
            f"{images} images, which don't fill a batch of {size}; "
            "metrics.json counts all of them",
            stacklevel=2,
        )
    batches = dataset.evaluation_batches(
        size, one_hot=one_hot, smallest=size if static else 1
    )
    return {
        "validation_data": batches,
        "validation_steps": images // size if static else None,
    }
