"""Architectures, and the networks and branches built from them."""

import dataclasses
import functools
from collections.abc import Callable

import keras

from keras_ffl.models.checks import check_image_shape
from keras_ffl.models.components import pooled_logits
from keras_ffl.number_checks import check_int

Stage = Callable[[keras.KerasTensor, str], keras.KerasTensor]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network with its image size and number of classes left open.

    Attributes:
        name: Default name of its models.
        stem: Function of a KerasTensor and a prefix for the names of the
            layers that it adds; returns its output, a KerasTensor.
        stages: The stages after the stem, similar functions, in order. The
            last one returns the features before pooling.
    """

    name: str
    stem: Stage
    stages: tuple[Stage, ...]

    def models(
        self, num_classes, input_shape, prefixes, separate_stages, name=None
    ):
        """Builds one model per prefix, all in one graph on one image.

        Stem and first stages are built once, without a prefix, the last
        `separate_stages` stages and the classifier once per prefix.

        Args:
            num_classes: Int >= 1, m.
            input_shape: (height, width, channels), ints >= 1.
            prefixes: Strings that begin the names of the separate layers,
                each empty or ending in an underscore.
            separate_stages: Int, 0 to the number of stages.
            name: Name of the models, or None for the architecture's. The
                prefix is appended to it.

        Returns:
            List of functional `keras.Model`s that share their first layers
            and their input, each from images (batch, height, width, channels)
            to `{"features": (batch, ..., C), "logits": (batch, m)}`.
        """
        num_classes = check_int("num_classes", num_classes, least=1)
        image = keras.Input(
            check_image_shape(input_shape),
            # float64 images would lose their precision in a float32 input.
            dtype=keras.config.dtype_policy().variable_dtype,
            name="image",
        )
        shared = len(self.stages) - separate_stages
        trunk = self.stem(image, "")
        for stage in self.stages[:shared]:
            trunk = stage(trunk, "")

        models = []
        for prefix in prefixes:
            features = trunk
            for stage in self.stages[shared:]:
                features = stage(features, prefix)
            logits = pooled_logits(features, num_classes, prefix)
            model_name = f"{name or self.name}_{prefix}".rstrip("_")
            outputs = {"features": features, "logits": logits}
            models.append(keras.Model(image, outputs, name=model_name))
        return models

    def __call__(self, num_classes, input_shape, name=None):
        """Builds a single network; arguments and result as in `models`."""
        (model,) = self.models(
            num_classes, input_shape, [""], separate_stages=0, name=name
        )
        return model


def stages_of(block, widths, blocks):
    """Makes stages of equal blocks; all but the first halve the image size.

    Args:
        block: Function `(x, filters, strides, name)` that adds one block to
            the KerasTensor `x`.
        widths: Sequence of int, the `filters` of each stage.
        blocks: Sequence of int >= 1, the number of blocks of each stage.

    Returns:
        Tuple of `Stage`s whose layers are named `stage<i>_block<j>_...`.
    """
    return tuple(
        functools.partial(
            _add_blocks,
            block=block,
            filters=filters,
            strides=1 if index == 1 else 2,
            names=[f"stage{index}_block{j}" for j in range(1, count + 1)],
        )
        for index, (filters, count) in enumerate(zip(widths, blocks), start=1)
    )


def _add_blocks(x, prefix, *, block, filters, strides, names):
    for name in names:
        x = block(x, filters, strides, f"{prefix}{name}")
        strides = 1
    return x
