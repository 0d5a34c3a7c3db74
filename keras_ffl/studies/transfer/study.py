"""Feature extractors of trained models, compared on another data set."""

import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.evaluation import format_table
from keras_ffl.models import count_parameters
from keras_ffl.models.flattening import flat_copy
from keras_ffl.studies.transfer.fine_tuning import fine_tune
from keras_ffl.studies.transfer.probe import (
    linear_probe,
    pooled_features,
    resplit_errors,
)


def feature_heads(model):
    """The heads of a model that have a feature map, a list of str."""
    found = []
    for head in model.heads:
        try:
            model.feature_extractor(head)
        except InputError:
            continue
        found.append(head)
    return found


def transfer(model, dataset, heads=None, splits=10, fine_tuning=None):
    """Linear probe and fine-tuning of a model's feature extractors.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        dataset: `keras_ffl.data.Dataset` of `target_data`.
        heads: Heads whose feature maps are taken, or None for all.
        splits: As of `resplit_errors`.
        fine_tuning: List of `FineTuning`, one for each run; None for none.

    Returns:
        Dict from head to a dict: `parameters` of the extractor, `channels`,
        `probe` (as of `linear_probe`), `resplit_errors` and `fine_tuned`, the
        errors in percent of the runs.

    Raises:
        InputError: A head has no feature map.
    """
    results = {}
    for head in heads or feature_heads(model):
        # Without the layers that the feature map does not need.
        extractor = flat_copy(model.feature_extractor(head))
        train, test = (
            pooled_features(extractor, images, dataset.info)
            for images in (dataset.x_train, dataset.x_test)
        )
        y_train, y_test = dataset.y_train, dataset.y_test
        results[head] = {
            "parameters": count_parameters(extractor, frozen=True),
            "channels": train.shape[1],
            "probe": linear_probe(train, y_train, test, y_test),
            "resplit_errors": resplit_errors(
                np.concatenate([train, test]),
                np.concatenate([y_train, y_test]),
                len(y_test),
                splits,
            ),
            "fine_tuned": [
                fine_tune(extractor, dataset, options)["top1_error"]
                for options in fine_tuning or ()
            ],
        }
    return results


def format_rows(rows):
    """Results of several runs as a table in plain text.

    Args:
        rows: List of the dicts that `transfer` gives, with `method`, `seed`
            and `head` besides.

    Returns:
        Str, one line for each row. Of repeated errors the mean and the sample
        standard deviation are shown.
    """
    return format_table(
        [
            [
                f"{row['method']} {row['head']}, seed {row['seed']}",
                f"{row['channels']}",
                f"{row['parameters']:,}",
                f"{row['probe']['top1_error']:.2f}",
                f"{row['probe']['C']:g}",
                _spread(row["resplit_errors"]),
                _spread(row["fine_tuned"]),
            ]
            for row in rows
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
