"""Knowledge distillation from a trained teacher (Hinton et al., 2015)."""

import dataclasses

import keras

from keras_ffl.errors import InputError
from keras_ffl.fields import field
from keras_ffl.methods.cautions import warn_of_separate_draws
from keras_ffl.methods.rows import DistillationOptions, Method
from keras_ffl.methods.single_network import SingleNetworkMethod
from keras_ffl.methods.subnetworks import (
    check_subnetwork,
    connect,
    prepared_image,
)
from keras_ffl.models.subnetwork import as_teacher
from keras_ffl.precision import truncates

# As `preprocessing`: the network of a loaded model already contains it.
_IN_NETWORK = object()


@keras.saving.register_keras_serializable(package="keras_ffl")
class KnowledgeDistillationModel(SingleNetworkMethod):
    """Trains a network, the student, on a frozen teacher's predictions (KD).

        L = CE(y, z_s) + w(t) T² KL(z_t -> z_s)

    The heads are `student` and `teacher`. The teacher is a copy that never
    changes: its weights are not trainable, and it runs in inference mode, with
    its moving averages. It is saved with the model, so that a run resumes
    without the teacher's file. `ce_student` and `kd` (with T², without w) are
    logged.

    Args:
        network: The student, a functional model from an image to
            `{"features": (batch, h, w, C), "logits": (batch, classes)}`.
        teacher: Trained functional `keras.Model` from the same images to
            logits or softmax probabilities (batch, classes), such as
            `model.classifier("fused")` of another method's model.
        temperature: Float > 0, T.
        rampup_epochs: Number >= 0, length R of the ramp-up of w in epochs; 0
            for w = 1 throughout.
        name: Name of the model.
        preprocessing: Keras layer, model or function between the images and
            both networks, as in `keras_ffl.as_subnetwork`, or None. It runs
            once, so that a random layer draws once and both see the same
            image. It is copied and frozen, and part of every head.
        teacher_from_logits: True if `teacher` returns logits, False for
            probabilities, None to infer it, like `from_logits` of
            `keras_ffl.as_subnetwork`.
        task, distillation: As in `keras_ffl.FeatureFusionModel`.

    Raises:
        InputError: `network` or `teacher` is not such a model, they don't fit
            together, or an option is out of range.

    Reference:
        Hinton et al., 2015, "Distilling the Knowledge in a Neural Network",
        https://arxiv.org/abs/1503.02531.
    """

    primary_head = "student"
    teacher_heads = ("teacher",)

    def __init__(
        self,
        network,
        teacher,
        temperature=3.0,
        rampup_epochs=0,
        name="knowledge_distillation_model",
        *,
        preprocessing=None,
        teacher_from_logits=None,
        task=None,
        distillation=None,
    ):
        check_subnetwork(network, task)
        if not isinstance(teacher, keras.Model):
            raise InputError(
                "`teacher` must be a trained functional keras.Model, got "
                f"{teacher!r}"
            )
        teacher = as_teacher(
            teacher,
            from_logits=teacher_from_logits,
            argument="teacher",
            task=task,
        )
        own = None if preprocessing is _IN_NETWORK else preprocessing
        image, (student,) = connect([network], own)
        prepared = image
        # Without an argument, a preprocessing in the network is another
        # method's, and the teacher has its own.
        if preprocessing is not None:
            prepared = prepared_image(keras.Model(image, student))
        _check_fit(prepared, student["logits"], teacher)
        logits = {
            "student": student["logits"],
            # Always in inference mode, regardless of the model's mode.
            "teacher": teacher(prepared, training=False),
        }
        super().__init__(
            image, logits, {"student": student}, rampup_epochs, name, task
        )
        self._prepares = preprocessing is not None
        self.set_distillation(temperature, distillation)
        warn_of_separate_draws([self.classifier(head) for head in self.heads])

    @property
    def teacher(self):
        """The teacher's copy, a functional model from image to logits."""
        return self.get_layer("teacher_network")

    def distillation_terms(self, y, logits):
        """The student's divergence from the teacher."""
        return {"kd": self.divergence(y, logits["teacher"], logits["student"])}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if config.pop("prepares"):
            config["preprocessing"] = _IN_NETWORK
        return super().from_config(config, custom_objects)

    def get_config(self):
        return {
            **super().get_config(),
            "prepares": self._prepares,
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            **self.distillation_config(),
            "rampup_epochs": self.rampup_epochs,
        }


def _check_fit(image, logits, teacher):
    for what, student, other in (
        ("take the images", image.shape[1:], teacher.input_shape[1:]),
        ("give the outputs", logits.shape[1:], teacher.output_shape[1:]),
    ):
        if student != other:
            raise InputError(
                f"`teacher` must {what} of `network`, {student}, got {other}"
            )
    if truncates(image.dtype, teacher.inputs[0].dtype):
        raise InputError(
            f"`teacher` must take the images of `network`, {image.dtype}, got "
            f"one that takes {teacher.inputs[0].dtype}; with an input of "
            "integers `network` would give both the same"
        )


# ----- the row ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class KnowledgeDistillationOptions(DistillationOptions):
    """Options of KD, in addition to those of `DistillationOptions`.

    Attributes:
        teacher: Workdir of the teacher's trained run.
        teacher_head: The head that teaches, None for the run's main one.
    """

    teacher: str | None = field(None, path=True)
    teacher_head: str | None = field(None)
    rampup_epochs: float = field(0.0, 0)

    def check(self, method, config):
        super().check(method, config)
        if not self.teacher:
            raise InputError(
                "`teacher` must be the workdir of a trained run for method "
                f"{method}, got none"
            )


def _build(subnetworks, config, teacher):
    options = config.options
    head = options.teacher_head or teacher.primary_head
    if head not in teacher.heads:
        raise InputError(
            f"`teacher_head` must be one of {', '.join(teacher.heads)}, got "
            f"{head!r}"
        )
    return KnowledgeDistillationModel(
        *subnetworks,
        teacher.classifier(head),
        **options.distillation_arguments,
        # A method's heads are always logits, however they are computed.
        teacher_from_logits=True,
    )


METHOD = Method(
    KnowledgeDistillationModel,
    "KD",
    KnowledgeDistillationOptions,
    _build,
    runs=("teacher",),
)
