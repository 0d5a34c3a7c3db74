"""Pictures of runs."""

from keras_ffl.visualization.curves import plot_curves

__all__ = ["plot_curves"]
