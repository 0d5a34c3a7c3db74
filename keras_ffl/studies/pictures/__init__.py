"""Pictures of what networks look at."""

from keras_ffl.studies.pictures.cam_figure import plot_grad_cam
from keras_ffl.studies.pictures.grad_cam import grad_cam, grad_cam_plus_plus
from keras_ffl.studies.pictures.overlay import overlay

__all__ = [
    "grad_cam",
    "grad_cam_plus_plus",
    "overlay",
    "plot_grad_cam",
]
