"""Measurements of trained networks, in plain NumPy."""

from keras_ffl.studies.analysis.calibration import (
    expected_calibration_error,
    reliability,
)
from keras_ffl.studies.analysis.classes import (
    confusion,
    most_confused,
    per_class_gain,
)
from keras_ffl.studies.analysis.similarity import (
    agreement,
    linear_cka,
    map_correlation,
    pairwise,
)

__all__ = [
    "agreement",
    "confusion",
    "expected_calibration_error",
    "linear_cka",
    "map_correlation",
    "most_confused",
    "pairwise",
    "per_class_gain",
    "reliability",
]
