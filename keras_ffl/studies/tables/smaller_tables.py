"""Scaled-down tables: fewer epochs and smaller networks."""

import dataclasses

# Trainable on a few CPU cores; shared architectures stay shared.
NETWORKS = {
    "resnet32": "resnet8",
    "resnet56": "resnet14",
    "wrn_16_2": "wrn_10_1",
    "wrn_40_2": "wrn_10_2",
    "resnet32_6_7_5": "resnet8_2_3_1",
    "resnet56_10_11_9": "resnet14_3_4_2",
    "imagenet_resnet34": "resnet8",
}
DATASETS = {"imagenet2012": "cifar100"}
# The paper's labels after the networks are replaced.
LABELS = {
    "ResNet-32": "ResNet-8 (for ResNet-32)",
    "ResNet-56": "ResNet-14 (for ResNet-56)",
    "WRN-16-2": "WRN-10-1 (for WRN-16-2)",
    "WRN-40-2": "WRN-10-2 (for WRN-40-2)",
    "ResNet-34": "ResNet-8 (for ResNet-34)",
    "ImageNet": "CIFAR-100 (for ImageNet)",
}


def scaled_config(config, epochs):
    """Makes a configuration with smaller networks and fewer epochs.

    Drops of the learning rate and options that end in `_epochs` keep their
    fraction of the training. Drops in the same epoch become one.

    Args:
        config: `keras_ffl.config.Config`.
        epochs: Int >= 1.

    Returns:
        `keras_ffl.config.Config`.
    """
    share = epochs / config.epochs
    milestones = (max(1, round(m * share)) for m in config.lr_milestones)
    lengths = {
        name: round(value * share, 2 if isinstance(value, float) else None)
        for name, value in vars(config.options).items()
        if name.endswith("_epochs") and value is not None
    }
    return dataclasses.replace(
        config,
        dataset=DATASETS.get(config.dataset, config.dataset),
        networks=tuple(NETWORKS.get(name, name) for name in config.networks),
        epochs=epochs,
        lr_milestones=tuple(dict.fromkeys(milestones)),
        options=dataclasses.replace(config.options, **lengths),
    )


def scaled_label(label):
    """Replaces networks in a title or label by those that are trained."""
    for name, replacement in LABELS.items():
        label = label.replace(name, replacement)
    return label


def scaled_table(table, epochs):
    """Scales every entry of a table.

    Args:
        table: `keras_ffl.studies.tables.Table`.
        epochs: Int >= 1.

    Returns:
        `keras_ffl.studies.tables.Table`.
    """
    return dataclasses.replace(
        table,
        title=f"{scaled_label(table.title)} (scaled down)",
        entries=tuple(
            dataclasses.replace(
                entry,
                row=scaled_label(entry.row),
                column=scaled_label(entry.column),
                config=scaled_config(entry.config, epochs),
            )
            for entry in table.entries
        ),
    )
