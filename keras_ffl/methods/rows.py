"""The parts of a row in the table of methods."""

import dataclasses
from collections.abc import Callable

from keras_ffl.errors import InputError
from keras_ffl.fields import Fields, field
from keras_ffl.losses import DISTILLATIONS
from keras_ffl.methods.base import TrainingMethod
from keras_ffl.models import build, build_branches
from keras_ffl.models.networks import find_architecture


def check_one_name(method, config):
    """Raises `InputError` if a configuration names several networks."""
    if len(config.networks) > 1:
        raise InputError(
            f"`networks` must name one network for method {method}, got "
            f"{', '.join(config.networks)}"
        )


@dataclasses.dataclass(frozen=True)
class Options(Fields):
    """Options of a method that trains one network: none."""

    def idle(self, networks):
        """The options that other options make irrelevant.

        Args:
            networks: Names of the networks, a tuple.

        Returns:
            Dict from option to the reason, a clause such as "where `fusion`
            is average".
        """
        return {}

    def check(self, method, config):
        """Checks the options against the rest of a configuration.

        Args:
            method: Name of the method.
            config: `keras_ffl.config.Config`.

        Raises:
            InputError: The method can't train with this configuration.
        """
        check_one_name(method, config)

    @property
    def weight_decay_groups(self):
        """L2 decays of groups of weights with a decay of their own, a dict."""
        return {}

    def number_of_views(self, names):
        """Number of augmentations of each image in a training batch, an int.

        One for each network where the option `views` is set, otherwise 1.

        Args:
            names: Names of the networks, a tuple.
        """
        if not getattr(self, "views", False):
            return 1
        return self.branches if len(names) == 1 else len(names)

    def make_networks(self, names, num_classes, input_shape):
        """Makes the sub-networks, a list of functional models.

        Args:
            names: Names of the networks, a tuple.
            num_classes: Int.
            input_shape: Image shape (h, w, c).
        """
        return [build(name, num_classes, input_shape) for name in names]


@dataclasses.dataclass(frozen=True)
class SeveralNetworks(Options):
    """Options of a method with several networks that share nothing.

    One name stands for `branches` networks, several names for one each.

    Attributes:
        branches: Number of networks if there is one name.
    """

    branches: int = field(2, 1, 64)

    def idle(self, networks):
        if len(networks) == 1:
            return {}
        return {"branches": "where `networks` names several networks"}

    def check(self, method, config):
        if len(config.networks) == self.branches == 1:
            raise InputError(
                "`branches` must be at least 2 where `networks` names one "
                f"network for method {method}, got 1"
            )

    def make_networks(self, names, num_classes, input_shape):
        if len(names) == 1:
            names = names * self.branches
        return super().make_networks(names, num_classes, input_shape)


@dataclasses.dataclass(frozen=True)
class Branches(SeveralNetworks):
    """Options of a method whose networks are branches on a shared trunk.

    Attributes:
        separate_stages: Number of the last stages that every branch of one
            network has separately; with 0, or with several names, networks
            share nothing.
    """

    separate_stages: int = field(1, 0, 64)

    def idle(self, networks):
        reasons = super().idle(networks)
        return reasons | {"separate_stages": each for each in reasons.values()}

    def check(self, method, config):
        super().check(method, config)
        if self.separate_stages and len(config.networks) == 1:
            find_architecture(*config.networks)

    def make_networks(self, names, num_classes, input_shape):
        if len(names) > 1 or not self.separate_stages:
            return super().make_networks(names, num_classes, input_shape)
        return build_branches(
            *names,
            self.branches,
            num_classes,
            input_shape,
            self.separate_stages,
        )


@dataclasses.dataclass(frozen=True)
class DistillationOptions(Options):
    """Options of a method whose networks learn from predictions.

    Attributes:
        temperature: T > 0.
        distillation: Divergence of the predictions, see
            `keras_ffl.losses.DISTILLATIONS`.
        rampup_epochs: Length R of the ramp-up in epochs, 0 for none.
    """

    temperature: float = field(3.0, 1e-3, 1e3)
    distillation: str = field("softmax", choices=tuple(DISTILLATIONS))
    rampup_epochs: float = field(80.0, 0)

    @property
    def distillation_arguments(self):
        """These options as arguments of the model, a dict."""
        return {
            "temperature": self.temperature,
            "distillation": DISTILLATIONS[self.distillation](),
            "rampup_epochs": self.rampup_epochs,
        }


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        model: The class.
        label: Its name in the paper's tables.
        options: Subclass of `Options`, a frozen dataclass of the options that
            a configuration can set, with this method's defaults.
        build: Function from the list of sub-networks, the
            `keras_ffl.config.Config` and, by name, the models of `runs` to
            the model.
        runs: Names of the options that are workdirs of trained runs, whose
            models `build` needs.
        fixed_epochs: Clause that says what would change in finished epochs if
            a run were extended; empty if nothing would.
    """

    model: type[TrainingMethod]
    label: str
    options: type[Options]
    build: Callable
    runs: tuple[str, ...] = ()
    fixed_epochs: str = ""

    @property
    def distils(self):
        """Whether networks learn from each other's predictions."""
        own = self.model.distillation_terms
        return own is not TrainingMethod.distillation_terms


def shared(options, before, after):
    """The options that a method inherits from another one.

    Args:
        options: Dict from option to value.
        before: Row of the method that they belong to.
        after: Row of the method that inherits them.

    Returns:
        Dict of the options that both methods have with the same default.
    """
    return {
        name: value
        for name, value in options.items()
        if all(name in row.options.names() for row in (before, after))
        and before.options.default(name) == after.options.default(name)
    }
