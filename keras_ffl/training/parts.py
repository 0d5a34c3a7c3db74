"""Data and model of a configuration."""

from keras_ffl import backend, data
from keras_ffl.builders import find_method
from keras_ffl.layers.batch_normalization import synchronized_batch_norm
from keras_ffl.optimizers import SGD


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
            learning_rate=full_rate(config),
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
        if backend.STEPS_IN_A_CALL
        else config.steps_per_execution,
    )
    return model


def full_rate(config):
    """The initial rate, scaled to the batch size where that is asked for."""
    if config.lr_base_batch is None:
        return config.learning_rate
    return config.learning_rate * config.batch_size / config.lr_base_batch
