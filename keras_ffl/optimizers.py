"""Stochastic gradient descent as in the method's recipe."""

import keras
from keras import ops

from keras_ffl.backend import momentum_kernel
from keras_ffl.backend.counting import optimizers_in
from keras_ffl.errors import InputError
from keras_ffl.number_checks import is_number

__all__ = ["SGD", "set_decay_group"]


def set_decay_group(variables, group):
    """Assigns variables to a weight decay group of `SGD`.

    Models do this for the variables whose decay differs (fusion module and
    fused classifier are the group "fusion"). The optimizer reads the group
    once, when it is built.

    Args:
        variables: Iterable of `keras.Variable`.
        group: Str, the group's name.
    """
    for variable in variables:
        variable.decay_group = group


def decay_rules(optimizer, weights):
    """What determines the decay of weights besides the optimizer's numbers.

    Args:
        optimizer: Keras optimizer.
        weights: List of `keras.Variable`s.

    Returns:
        Dict of JSON values: `groups`, a dict from group to the positions of
        its weights, and `excluded`, for each of `optimizers_in` the positions
        of the weights in `exclude_from_weight_decay`.
    """
    groups = {}
    for k, weight in enumerate(weights):
        group = getattr(weight, "decay_group", None)
        if group is not None:
            groups.setdefault(group, []).append(k)
    excluded = [
        [k for k, w in enumerate(weights) if not part._use_weight_decay(w)]
        for part in optimizers_in(optimizer)
    ]
    return {"groups": groups, "excluded": excluded}


def set_decay_rules(optimizer, weights, rules):
    """Sets what `decay_rules` returned, before the optimizer is built.

    Args:
        optimizer, weights: As in `decay_rules`, in the same order.
        rules: What it returned.
    """
    set_decay_group(weights, None)
    for group, members in rules["groups"].items():
        set_decay_group([weights[k] for k in members], group)
    for part, excluded in zip(optimizers_in(optimizer), rules["excluded"]):
        if excluded:
            part.exclude_from_weight_decay([weights[k] for k in excluded])
        if isinstance(part, SGD):
            # Weights that are frozen by now may have been in a group.
            part._known_groups |= rules["groups"].keys()


@keras.saving.register_keras_serializable(package="keras_ffl")
class SGD(keras.optimizers.Optimizer):
    """SGD with momentum and weight decay inside the gradient.

    One update of a weight w with gradient g, buffer b and rate lr:

        g <- g + decay · w
        b <- momentum · b + g
        w <- w - lr · (g + momentum · b)      (nesterov)
        w <- w - lr · b                       (otherwise)

    This is PyTorch's form and the paper's recipe. It differs from
    `keras.optimizers.SGD` in two ways: the decay is an L2 term of the
    gradient instead of being decoupled from it, and the rate multiplies the
    step instead of the buffer, so that a drop of the rate takes effect at
    once. The decay is added once per update, after clipping and after
    gradients are accumulated or summed over replicas, to every trainable
    variable (including batch norm and biases).

    Args:
        learning_rate: Float, `keras.optimizers.schedules` schedule or
            callable.
        momentum: Float in [0, 1].
        nesterov: Bool, whether to use Nesterov's form.
        weight_decay: Float >= 0, the decay of all variables outside the
            groups of `weight_decay_groups`.
        weight_decay_groups: Dict from group name to its decay; see
            `set_decay_group`. The default is the paper's
            `{"fusion": 1e-5}`.
        **kwargs: Further arguments of `keras.optimizers.Optimizer`, such as
            `clipnorm`, `global_clipnorm`, `gradient_accumulation_steps`.

    Raises:
        InputError: `momentum` or a decay is not a number in its range. When
            built: no variable is in a group other than "fusion".

    Reference:
        Sutskever et al., 2013; appendix A of Kim et al., 2019,
        https://arxiv.org/abs/1904.09058.
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        weight_decay_groups=None,
        name="sgd",
        **kwargs,
    ):
        if isinstance(learning_rate, int):
            learning_rate = float(learning_rate)
        if not (is_number(momentum) and 0 <= momentum <= 1):
            raise InputError(f"`momentum` must be in [0, 1], got {momentum!r}")
        if weight_decay_groups is None:
            weight_decay_groups = {"fusion": 1e-5}
        decays = {"weight_decay": weight_decay, **weight_decay_groups}
        for key, value in decays.items():
            if not (is_number(value) and 0 <= value < float("inf")):
                raise InputError(
                    "`weight_decay` and the values of `weight_decay_groups` "
                    f"must be numbers >= 0, got {key}={value!r}"
                )
        # The parent's own `weight_decay` is decoupled from the gradient.
        super().__init__(
            learning_rate=learning_rate, weight_decay=None, name=name, **kwargs
        )
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = weight_decay
        self.l2_groups = dict(weight_decay_groups)
        self._known_groups = {"fusion"}

    def build(self, variables):
        if self.built:
            return
        groups = {getattr(v, "decay_group", None) for v in variables}
        unknown = self.l2_groups.keys() - groups - self._known_groups
        if unknown:
            known = ", ".join(sorted(map(repr, filter(None, groups))))
            raise InputError(
                "`weight_decay_groups` must name groups of the variables "
                f"({known or 'they have none'}), got {min(unknown)!r}"
            )
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        self._decays = [
            self.l2_groups.get(getattr(variable, "decay_group", None), self.l2)
            if self._use_weight_decay(variable)
            else 0.0
            for variable in variables
        ]

    def decay_of(self, variable):
        """The weight decay of one of the optimizer's variables.

        Args:
            variable: `keras.Variable`.

        Returns:
            Float >= 0.
        """
        return self._decays[self._get_variable_index(variable)]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        if self._decays[index]:
            weight = ops.convert_to_tensor(variable)
            # A sum written as a difference: TensorFlow's graph rewriting
            # mistakes the sum of a dense layer's gradient (1, m) and a tensor
            # of that shape for adding a bias, which must be 1-D, and fails.
            gradient = gradient - (-self._decays[index]) * weight
        rate = ops.cast(learning_rate, variable.dtype)
        apply = momentum_kernel() or self._plain
        apply(
            variable,
            self.momentums[index],
            gradient,
            rate,
            self.momentum,
            self.nesterov,
        )

    def _plain(self, variable, buffer, gradient, rate, momentum, nesterov):
        """The same as the kernel, in elementary operations."""
        moved = momentum * ops.convert_to_tensor(buffer) + gradient
        self.assign(buffer, moved)
        step = gradient + momentum * moved if nesterov else moved
        self.assign_sub(variable, rate * step)

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.l2,
            "weight_decay_groups": dict(self.l2_groups),
        }
