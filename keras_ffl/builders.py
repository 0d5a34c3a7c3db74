"""From a configuration to a model: the table of the training methods.

A method of your own needs one row here; docs/methods.md shows how.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_ffl.config import Config
from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage, FusionModule
from keras_ffl.methods import (
    DualNetModel,
    EnsembleModel,
    FeatureFusionModel,
    KnowledgeDistillationModel,
    MutualLearningModel,
    OneModel,
    VanillaModel,
)
from keras_ffl.models import build, build_branches
from keras_ffl.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        build: Function of a `Config`, the number of classes and the image
            shape, which gives the model.
        check: Function of a `Config` that raises an `InputError` where the
            method can't take its options. It looks at nothing else, so that
            a bad configuration is found before any data is read.
        options: Names of the fields of `Config` that have a meaning for this
            method, but not for every one.
        defaults: Dict from option to the method's own default, where that is
            not the one of `Config`.
    """

    build: Callable[[Config, int, tuple[int, ...]], keras.Model]
    check: Callable[[Config], None]
    options: tuple[str, ...]
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


def method_named(name):
    """The row of a method.

    Args:
        name: A key of `METHODS`.

    Returns:
        `Method`.

    Raises:
        InputError: The method is unknown; the message lists the known ones.
    """
    if name not in METHODS:
        raise InputError(
            f"`method` must be one of {', '.join(METHODS)}, got {name!r} (one "
            "of another package is imported first, in scripts by --import)"
        )
    return METHODS[name]


def find_method(config):
    """The row of a configuration's method, its options checked.

    Args:
        config: `keras_ffl.config.Config`.

    Returns:
        `Method`.

    Raises:
        InputError: The method is unknown (the message lists the known ones)
            or can't take the configuration's options.
    """
    method = method_named(config.method)
    method.check(config)
    # No preset has one, so that somebody has asked for it.
    if config.teacher and "teacher" not in method.options:
        raise InputError(
            f"`teacher` has no meaning for method {config.method}, got "
            f"{config.teacher!r}"
        )
    return method


def without_meaning(config):
    """The fields of a configuration that nothing looks at.

    Args:
        config: `keras_ffl.config.Config`.

    Returns:
        Dict from field to the reason, a clause such as "for method vanilla".

    Raises:
        InputError: The method is unknown.
    """
    own = method_named(config.method).options
    reasons = {}
    if len(config.networks) > 1:
        several = "where `networks` names several networks"
        reasons |= dict.fromkeys(("branches", "separate_stages"), several)
    if config.fusion == "average":
        average = "where `fusion` is average"
        reasons |= dict.fromkeys(("fusion_filters", "fusion_width"), average)
    elif config.fusion_filters is not None:
        reasons["fusion_width"] = "where `fusion_filters` is given"
    if config.lr_schedule == "cosine":
        cosine = "where `lr_schedule` is cosine"
        reasons |= dict.fromkeys(("lr_milestones", "lr_factor"), cosine)
    listed = ", ".join(own) or "none"
    return reasons | {
        name: f"for method {config.method} (its options: {listed})"
        for method in METHODS.values()
        for name in method.options
        if name not in own
    }


# ----- what the methods can take ------------------------------------------


def _check_one_network(config):
    if len(config.networks) > 1:
        raise InputError(
            f"`networks` must name one network for method {config.method}, "
            f"got {', '.join(config.networks)}"
        )


def _check_several(config):
    if len(config.networks) == config.branches == 1:
        raise InputError(
            "`branches` must be at least 2 where `networks` names one "
            f"network for method {config.method}, got 1"
        )


def _check_branches(config):
    _check_one_network(config)
    _check_several(config)
    if config.separate_stages < 1:
        raise InputError(
            "`separate_stages` must be at least 1 for method one, whose gate "
            f"needs a shared trunk, got {config.separate_stages}"
        )


def _check_pair(config):
    _check_one_network(config)
    if config.branches != 2:
        raise InputError(
            f"`branches` must be 2 for method dualnet, got {config.branches}"
        )
    if (config.joint_epochs or 0) > config.epochs:
        raise InputError(
            f"`joint_epochs` must be at most `epochs`, {config.epochs}, got "
            f"{config.joint_epochs}"
        )


def _check_student(config):
    _check_one_network(config)
    if not config.teacher:
        raise InputError(
            "`teacher` must be the workdir of a trained run for method kd, "
            "got none"
        )


# ----- the models -----------------------------------------------------------


def _networks(config, num_classes, input_shape):
    """The networks of a configuration, which share nothing."""
    names = config.networks
    if len(names) == 1:
        names = names * config.branches
    return [build(name, num_classes, input_shape) for name in names]


def _branches(config, num_classes, input_shape):
    """Branches of one network on a shared trunk."""
    return build_branches(
        config.networks[0],
        config.branches,
        num_classes,
        input_shape,
        config.separate_stages,
    )


def _feature_fusion(config, num_classes, input_shape):
    shares = len(config.networks) == 1 and config.separate_stages
    return FeatureFusionModel(
        (_branches if shares else _networks)(config, num_classes, input_shape),
        config.rampup_epochs,
        temperature=config.temperature,
        use_ekd=config.use_ekd,
        use_fkd=config.use_fkd,
        fusion=FeatureAverage(name="feature_average")
        if config.fusion == "average"
        else FusionModule(
            config.fusion_filters or config.fusion_width, name="fusion_module"
        ),
    )


def _vanilla(config, num_classes, input_shape):
    return VanillaModel(build(config.networks[0], num_classes, input_shape))


def _ensemble(config, num_classes, input_shape):
    return EnsembleModel(_networks(config, num_classes, input_shape))


def _dualnet(config, num_classes, input_shape):
    joint = config.joint_epochs
    if joint is None:
        joint = round(config.epochs * 51 / 307)
    return DualNetModel(
        _networks(config, num_classes, input_shape),
        iterative_epochs=config.epochs - joint,
        classifier_weight=config.classifier_weight,
        joint_extractors=config.joint_extractors,
    )


def _one(config, num_classes, input_shape):
    return OneModel(
        _branches(config, num_classes, input_shape),
        config.rampup_epochs,
        temperature=config.temperature,
    )


def _mutual(config, num_classes, input_shape):
    return MutualLearningModel(
        _networks(config, num_classes, input_shape),
        temperature=config.temperature,
        rampup_epochs=config.rampup_epochs,
        simultaneous=config.simultaneous,
    )


def _distillation(config, num_classes, input_shape):
    model = Workdir(config.teacher).load_model()
    head = config.teacher_head or model.primary_head
    return KnowledgeDistillationModel(
        build(config.networks[0], num_classes, input_shape),
        model.classifier(head),
        temperature=config.temperature,
        rampup_epochs=config.rampup_epochs,
        # A method's heads are logits by contract, whatever computes them.
        teacher_from_logits=True,
    )


METHODS = {
    "ffl": Method(
        _feature_fusion,
        _check_several,
        (
            "branches",
            "separate_stages",
            "fusion",
            "fusion_filters",
            "fusion_width",
            "fusion_weight_decay",
            "temperature",
            "rampup_epochs",
            "use_ekd",
            "use_fkd",
        ),
    ),
    "vanilla": Method(_vanilla, _check_one_network, ()),
    "ensemble": Method(_ensemble, _check_several, ("branches",)),
    "dualnet": Method(
        _dualnet,
        _check_pair,
        ("branches", "joint_epochs", "joint_extractors", "classifier_weight"),
    ),
    "one": Method(
        _one,
        _check_branches,
        ("branches", "separate_stages", "temperature", "rampup_epochs"),
    ),
    "dml": Method(
        _mutual,
        _check_several,
        ("branches", "temperature", "rampup_epochs", "simultaneous"),
        {"temperature": 1.0, "rampup_epochs": 0.0},
    ),
    "kd": Method(
        _distillation,
        _check_student,
        ("teacher", "teacher_head", "temperature", "rampup_epochs"),
        {"rampup_epochs": 0.0},
    ),
}
"""The training methods by the name that a configuration gives them."""
