"""Pictures of runs and of what the networks look at."""

from keras_ffl.visualization.cam_figure import plot_grad_cam
from keras_ffl.visualization.curves import plot_curves
from keras_ffl.visualization.grad_cam import grad_cam, grad_cam_plus_plus
from keras_ffl.visualization.overlay import overlay

__all__ = [
    "grad_cam",
    "grad_cam_plus_plus",
    "overlay",
    "plot_curves",
    "plot_grad_cam",
]
