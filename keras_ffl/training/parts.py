"""The data and model of a configuration."""

from absl import logging

from keras_ffl import backend, data
from keras_ffl.errors import InputError
from keras_ffl.layers.batch_normalization import synchronized_batch_norm
from keras_ffl.optimizers import SGD
from keras_ffl.workdir import Workdir


def load_data(config, left_out=None):
    """Loads the data set of a configuration and its held-out part.

    Args:
        config: `keras_ffl.config.Config`.
        left_out: Names of the unreadable photos found at the run's first
            start, or None before it.

    Returns:
        Tuple of the data set without the held-out part, and one whose test
        split is the held-out part, or None.

    Raises:
        InputError: The data set is unknown or can't be loaded.
    """
    photos = data.PhotoOptions(
        config.image_size, config.verify_images, left_out
    )
    dataset = data.load(config.dataset, config.data_dir, photos)
    return data.split_holdout(dataset, config.holdout)


def build_method(config, num_classes, input_shape):
    """Builds the uncompiled model of a configuration.

    Args:
        config: `keras_ffl.config.Config`.
        num_classes: Int.
        input_shape: Image shape (h, w, c).

    Returns:
        `keras_ffl.methods.TrainingMethod`.

    Raises:
        InputError: As in `build_model`.
    """
    config.check()
    row, options = config.row, config.options
    runs = {}
    for name in row.runs:
        folder = Workdir(getattr(options, name))
        runs[name] = folder.load_model()
        done, epochs = int(runs[name].epochs_trained), folder.config().epochs
        if done < epochs:
            logging.warning(
                f"`{name}` {folder.path} has finished {done} of {epochs} "
                "epochs; its last checkpoint is used"
            )
    networks = options.make_networks(config.networks, num_classes, input_shape)
    return row.build(networks, config, **runs)


def build_model(config, info):
    """Builds and compiles the model of a configuration.

    Args:
        config: `keras_ffl.config.Config`.
        info: `keras_ffl.data.DatasetInfo`.

    Returns:
        Compiled `keras_ffl.methods.TrainingMethod`.

    Raises:
        InputError: The method or a network is unknown, the options don't
            fit together, the method or the data are not for classification,
            or a trained run that the method needs has another data set.
    """
    if info.num_classes < 2:
        raise InputError(
            f"`dataset` must have at least 2 classes, got {info.num_classes} "
            f"({', '.join(info.class_names)})"
        )
    for name in config.row.runs:
        difference = Workdir(getattr(config.options, name)).other_data(info)
        if difference:
            raise InputError(
                f"`{name}` must be trained on the run's data set, not on that "
                f"of {difference}"
            )
    with synchronized_batch_norm(config.synchronized_batch_norm):
        model = build_method(config, info.num_classes, info.input_shape)
    model.task.check_counts_classes("Commands")
    model.compile(
        optimizer=SGD(
            learning_rate=full_rate(config),
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            weight_decay_groups=config.options.weight_decay_groups,
            global_clipnorm=config.global_clipnorm,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
        ),
        metrics=["accuracy"],
        # Data on the device already contain several steps.
        steps_per_execution=1
        if backend.STEPS_IN_A_CALL
        else config.steps_per_execution,
    )
    return model


def full_rate(config):
    """The initial rate, scaled to the batch size if configured."""
    if config.lr_base_batch is None:
        return config.learning_rate
    return config.learning_rate * config.batch_size / config.lr_base_batch
