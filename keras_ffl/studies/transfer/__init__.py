"""Trained features on another data set."""

from keras_ffl.studies.transfer.fine_tuning import FineTuning, fine_tune
from keras_ffl.studies.transfer.probe import (
    linear_probe,
    pooled_features,
    resplit_errors,
)
from keras_ffl.studies.transfer.study import format_rows, transfer
from keras_ffl.studies.transfer.target import target_data

__all__ = [
    "FineTuning",
    "fine_tune",
    "format_rows",
    "linear_probe",
    "pooled_features",
    "resplit_errors",
    "target_data",
    "transfer",
]
