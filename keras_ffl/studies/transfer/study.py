"""Compares feature extractors of trained models on another data set."""

import numpy as np

from keras_ffl.errors import InputError, first_line
from keras_ffl.evaluation import format_table
from keras_ffl.models import count_parameters
from keras_ffl.models.flattening import flat_copy
from keras_ffl.studies.transfer.fine_tuning import fine_tune
from keras_ffl.studies.transfer.probe import (
    linear_probe,
    pooled_features,
    resplit_errors,
)


def transfer(model, dataset, heads=None, splits=10, fine_tuning=None):
    """Runs linear probes and fine-tuning of a model's feature extractors.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        dataset: `keras_ffl.data.Dataset` from `target_data`.
        heads: Heads whose feature maps are used, or None for all.
        splits: As in `resplit_errors`.
        fine_tuning: List of `FineTuning`, one per run; None for none.

    Returns:
        Dict from head to a dict: `parameters` of the extractor, `channels`,
        `probe` (from `linear_probe`), `resplit_errors` and `fine_tuned`, the
        runs' errors in percent.

    Raises:
        InputError: A head has no feature map, or a class too few images.
    """
    results = {}
    for head in heads or model.feature_maps():
        # Drops layers that the feature map doesn't need.
        extractor = flat_copy(model.feature_extractor(head))
        train, test = (
            pooled_features(extractor, images, dataset.info)
            for images in (dataset.x_train, dataset.x_test)
        )
        y_train, y_test = dataset.y_train, dataset.y_test
        try:
            probe = linear_probe(train, y_train, test, y_test)
            errors = resplit_errors(
                np.concatenate([train, test]),
                np.concatenate([y_train, y_test]),
                len(y_test),
                splits,
            )
        except ValueError as error:
            raise InputError(
                "`dataset` must have enough images of every class for the "
                f"probe: {first_line(error)}"
            ) from error
        results[head] = {
            "parameters": count_parameters(extractor, frozen=True),
            "channels": train.shape[1],
            "probe": probe,
            "resplit_errors": errors,
            "fine_tuned": [
                fine_tune(extractor, dataset, options)["top1_error"]
                for options in fine_tuning or ()
            ],
        }
    return results


def format_rows(rows):
    """Formats results of several runs as a plain-text table.

    Args:
        rows: List of dicts from `transfer` with additional keys `run`,
            `method`, `seed` and `head`.

    Returns:
        Str, one line per row, with mean and sample standard deviation of
        repeated errors.
    """
    names = [f"{r['method']} {r['head']}, seed {r['seed']}" for r in rows]
    return format_table(
        [
            [
                name if names.count(name) == 1 else f"{name} ({row['run']})",
                f"{row['channels']}",
                f"{row['parameters']:,}",
                f"{row['probe']['top1_error']:.2f}",
                f"{row['probe']['C']:g}",
                _spread(row["resplit_errors"]),
                _spread(row["fine_tuned"]),
            ]
            for name, row in zip(names, rows)
        ],
        [
            "features of",
            "channels",
            "parameters",
            "probe's error %",
            "C",
            "on random splits",
            "fine-tuned",
        ],
    )


def _spread(errors):
    if not errors:
        return ""
    mean = f"{np.mean(errors):.2f}"
    return mean if len(errors) < 2 else f"{mean} ± {np.std(errors, ddof=1):.2f}"
