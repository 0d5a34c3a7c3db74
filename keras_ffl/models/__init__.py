"""Networks: from an image to a feature map and logits."""

from keras_ffl.models.applications import (
    application,
    application_preprocessing,
)
from keras_ffl.models.branching import build_branches
from keras_ffl.models.costs import count_multiply_adds, count_parameters
from keras_ffl.models.imagenet_resnet import imagenet_resnet
from keras_ffl.models.networks import NETWORKS, build
from keras_ffl.models.resnet import resnet
from keras_ffl.models.subnetwork import as_subnetwork
from keras_ffl.models.vit import vit
from keras_ffl.models.wide_resnet import wide_resnet

__all__ = [
    "NETWORKS",
    "application",
    "application_preprocessing",
    "as_subnetwork",
    "build",
    "build_branches",
    "count_multiply_adds",
    "count_parameters",
    "imagenet_resnet",
    "resnet",
    "vit",
    "wide_resnet",
]
