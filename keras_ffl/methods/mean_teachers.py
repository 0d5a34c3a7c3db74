"""Mean teachers: moving averages of a method's networks."""

import keras
from keras import ops

from keras_ffl.backend import after_checks
from keras_ffl.errors import InputError
from keras_ffl.methods.subnetworks import prepared_image
from keras_ffl.models.frozen import frozen_copy

# The largest weight φ of the old average.
DECAY = 0.999


def mean_teachers(image, networks):
    """Makes the mean teachers of networks, which begin as their copies.

    Args:
        image: `keras.KerasTensor` of the images.
        networks: List of the networks' outputs for it, dicts of "features"
            and "logits".

    Returns:
        Dict from head, `teacher_1` to `teacher_n`, to the outputs of the
        nested, frozen model `mean_teacher_k`, like those of a network.

    Raises:
        InputError: A network can't be copied, or has weights of 16 bits.
    """
    prepared = prepared_image(keras.Model(image, networks))
    teachers = {}
    for k, network in enumerate(networks, start=1):
        source = keras.Model(prepared, network, name=f"mean_teacher_{k}")
        for weight in source.weights:
            if weight.dtype in ("float16", "bfloat16"):
                raise InputError(
                    "`subnetworks`: the weights of a network with a mean "
                    f"teacher must be float32 or float64, got {weight.path} in "
                    f"{weight.dtype}, in which averages stop moving; a mixed_ "
                    "dtype policy keeps weights in float32"
                )
        teachers[f"teacher_{k}"] = frozen_copy(source)(prepared)
    return teachers


class MeanTeachers:
    """Mixin of `ParallelMethod`: a mean teacher of every sub-network.

    A mean teacher has the architecture of its network; its weights and the
    statistics of its batch normalisation are moving averages of the network's:

        θ̃ <- φ θ̃ + (1 - φ) θ,    φ = min(1 - 1/(t + 1), 0.999)

    after every batch (also if the batch makes several updates), where t is
    the number of batches including this one. So θ̃ is the mean of the first
    weights and those after each batch, until t = 999. The teachers are
    trained by nothing else, always run in inference mode (with the averaged
    statistics: what teaches is what is evaluated and exported), and have the
    heads `teacher_1`, ..., `teacher_n`. They and t are non-trainable weights
    of the model, which files keep.

    Attributes:
        teacher_updates: Non-trainable int32 variable, t; only of models with
            mean teachers.

    Reference:
        Tarvainen & Valpola, 2017, "Mean teachers are better role models",
        https://arxiv.org/abs/1703.01780.
    """

    _teachers = {}

    def keep_teachers(self, teachers):
        """Keeps what `mean_teachers` returned, at the end of a constructor."""
        self._teachers = teachers
        if teachers:
            self.teacher_updates = self.add_weight(
                name="teacher_updates",
                shape=(),
                dtype="int32",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
            )

    @property
    def teacher_heads(self):
        """Names of the mean teachers' heads, a tuple; empty without any."""
        return tuple(self._teachers)

    def feature_maps(self):
        """The last features, a dict from head to `keras.KerasTensor`."""
        teachers = {
            head: outputs["features"]
            for head, outputs in self._teachers.items()
        }
        return {**super().feature_maps(), **teachers}

    def training_step(self, x, y, sample_weight):
        """As in `TrainingMethod`; then the mean teachers move."""
        logs = super().training_step(x, y, sample_weight)
        if self._teachers:
            self.move_teachers(y)
        return logs

    def move_teachers(self, y):
        """Moves all mean teachers towards their networks, once per batch.

        Args:
            y: Labels of the batch.
        """
        updates = ops.convert_to_tensor(self.teacher_updates) + 1
        self.teacher_updates.assign(after_checks(updates, y))
        count = ops.convert_to_tensor(self.teacher_updates) + 1
        for average, weight in self._averages():
            value = ops.convert_to_tensor(weight)
            if "float" in weight.dtype:
                part = ops.maximum(1 / ops.cast(count, weight.dtype), 1 - DECAY)
                # In this form, weights that are equal stay equal.
                old = ops.convert_to_tensor(average)
                value = old + part * (value - old)
            average.assign(value)

    def _averages(self):
        """Yields each mean teacher's weights with those of its network."""
        image = prepared_image(self)
        for k, network in enumerate(self._networks.values(), start=1):
            weights = keras.Model(image, network).weights
            averages = self.get_layer(f"mean_teacher_{k}").weights
            if [w.shape for w in weights] != [a.shape for a in averages]:
                raise InputError(
                    f"`subnetworks`: the weights of sub_{k} must be those that "
                    f"it had when {type(self).__name__} was created, got "
                    "others (such as LoRA's), which its mean teacher lacks"
                )
            yield from zip(averages, weights)
