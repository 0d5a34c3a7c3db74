"""Pictures of runs and of what the networks look at."""

from keras_ffl.visualization.curves import plot_curves
from keras_ffl.visualization.grad_cam import grad_cam, grad_cam_plus_plus

__all__ = ["grad_cam", "grad_cam_plus_plus", "plot_curves"]
