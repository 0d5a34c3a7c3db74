"""Pictures of runs and of what the networks see."""

from keras_ffl.visualization.curves import plot_curves

__all__ = ["plot_curves"]
