"""Values that change over the epochs: the ramp-up and the learning rate."""

import math

from keras import ops

from keras_ffl.errors import InputError

__all__ = ["Cosine", "Steps", "rampup_weight"]


def rampup_weight(epoch, rampup_epochs):
    """Computes the weight w of the distillation terms in an epoch.

    `w = exp(-5 (1 - min(e, R) / R)²)`, and 1 throughout for R = 0.

    Args:
        epoch: Epoch e, counted from 0; a number or a scalar tensor.
        rampup_epochs: Length R of the ramp-up in epochs, >= 0.

    Returns:
        Scalar float32 tensor in (0, 1].

    Reference:
        Laine & Aila, 2016, https://arxiv.org/abs/1610.02242; appendix A of
        Kim et al., 2019, https://arxiv.org/abs/1904.09058.
    """
    if not rampup_epochs:
        return ops.ones((), "float32")
    done = ops.minimum(ops.cast(epoch, "float32") / float(rampup_epochs), 1.0)
    return ops.exp(-5.0 * ops.square(1.0 - done))


class Steps:
    """Learning rate that is multiplied at given epochs.

    This is the schedule in section A of the paper's appendix, for
    `keras.callbacks.LearningRateScheduler`.

    Args:
        initial: Float > 0, the rate of epoch 0.
        milestones: Increasing epochs (counted from 0), each of which
            multiplies the rate once more.
        factor: Float > 0, the multiplier.

    Raises:
        InputError: The milestones don't increase or are negative.
    """

    def __init__(self, initial, milestones, factor=0.1):
        self.initial = initial
        self.milestones = tuple(milestones)
        self.factor = factor
        pairs = zip(self.milestones, self.milestones[1:])
        if any(m < 0 for m in self.milestones) or any(a >= b for a, b in pairs):
            raise InputError(
                "`milestones` must be increasing epochs >= 0, got "
                f"{self.milestones}"
            )

    def __call__(self, epoch, learning_rate=None):
        """The rate of `epoch`; the current rate is ignored."""
        passed = sum(epoch >= milestone for milestone in self.milestones)
        return self.initial * self.factor**passed


class Cosine:
    """Learning rate that falls from `initial` towards 0 along half a cosine.

    For `keras.callbacks.LearningRateScheduler`.

    Args:
        initial: Float > 0, the rate of epoch 0.
        epochs: Int >= 1, number of epochs in the whole run.

    Raises:
        InputError: `epochs` is less than 1.

    Reference:
        Loshchilov & Hutter, 2017, https://arxiv.org/abs/1608.03983.
    """

    def __init__(self, initial, epochs):
        if epochs < 1:
            raise InputError(f"`epochs` must be >= 1, got {epochs}")
        self.initial = initial
        self.epochs = epochs

    def __call__(self, epoch, learning_rate=None):
        """The rate of `epoch`; the current rate is ignored."""
        done = min(epoch / self.epochs, 1.0)
        return self.initial * 0.5 * (1.0 + math.cos(math.pi * done))
