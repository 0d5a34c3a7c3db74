"""What is inside optimizers: counters, and several updates that are one."""

import functools

import keras
from keras import ops


class OneCount:
    """Makes the updates of one batch count as one update.

    An optimizer counts its updates: in its number of iterations (which
    schedules and Adam's corrections depend on), in a loss scale's counter, and
    by moving the averages of all weights (`use_ema`). Here every update of a
    batch starts from the counters before the batch, and `finish` leaves them
    as a single update would: iterations and averages advance once, and every
    `ema_overwrite_frequency` iterations the averages replace the weights.

    With a loss scale, updates whose gradients are not finite are skipped and
    all others applied. The scale is then halved once, however many updates
    were skipped. It grows only after batches without a skipped update. A batch
    counts if at least one of its updates was applied.

    Args:
        optimizer: Built `keras.optimizers.Optimizer`.
    """

    def __init__(self, optimizer):
        self._scale = None
        self._inner = optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            self._scale = (optimizer.step_counter, optimizer.dynamic_scale)
            self._inner = optimizer.inner_optimizer
        self._optimizer = _without_averages(optimizer)
        self._counters = _counters(optimizer, self._inner)
        self._before = _copies(self._counters)
        self._steps = ops.copy(self._inner.iterations)
        self._after = []
        self._started = False

    def next_update(self):
        """Returns the optimizer for the next update, which must follow."""
        if self._started:
            self._note_counters()
            for counter, value in zip(self._counters, self._before):
                counter.assign(value)
        self._started = True
        return self._optimizer

    def finish(self):
        """Sets all counters to their values after a single update."""
        counted = True
        if self._scale:
            self._note_counters()
            for counter, before, *after in zip(
                self._counters, self._before, *self._after
            ):
                counter.assign(self._one_of(counter, before, after))
            counted = ops.not_equal(self._inner.iterations, self._steps)
        if self._inner.use_ema:
            self._move_averages(counted)

    def _note_counters(self):
        # Without a loss scale all updates leave the same counters.
        if self._scale:
            self._after.append(_copies(self._counters))

    def _one_of(self, counter, before, after):
        """A counter's value after the batch, given those after each update."""
        if any(counter is one for one in self._scale):
            # The value after a skipped update, if there was one.
            return functools.reduce(ops.minimum, after)
        value = before
        for each in after:
            # The value after an applied update.
            value = ops.where(ops.not_equal(each, before), each, value)
        return value

    def _move_averages(self, counted):
        """Moves all averages, as Keras does in every update."""
        inner = self._inner
        kept = ops.where(ops.equal(self._steps, 0), 0.0, inner.ema_momentum)
        kept = ops.where(counted, kept, 1.0)
        every = inner.ema_overwrite_frequency
        if every:
            due = ops.equal((self._steps + 1) % every, 0)
            due = ops.logical_and(due, counted)
        for variable, average in zip(
            inner._trainable_variables, inner._model_variables_moving_average
        ):
            if average is None:
                continue
            share = ops.cast(kept, variable.dtype)
            weight = ops.convert_to_tensor(variable)
            value = share * average + (1 - share) * weight
            average.assign(value)
            if every:
                variable.assign(ops.where(due, value, weight))


def optimizers_in(optimizer):
    """The optimizers inside that of a loss scale or a `MultiOptimizer`."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return getattr(inner, "optimizers", [inner])


def _copies(variables):
    # A conversion would return the variables themselves.
    return [ops.copy(variable) for variable in variables]


def _without_averages(optimizer):
    """A view of an optimizer whose updates don't move the averages.

    It shares the optimizer's variables. `use_ema` is not switched off in the
    optimizer itself, because replicas run concurrently in threads.
    """
    view = object.__new__(type(optimizer))
    vars(view).update(vars(optimizer), use_ema=False)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = _without_averages(optimizer.inner_optimizer)
        vars(view).update(inner_optimizer=inner)
    return view


def _counters(optimizer, inner):
    """An optimizer's scalars, except its slots for scalar weights."""
    slots = tuple(
        variable.path.replace("/", "_")
        for variable in inner._trainable_variables
        if len(variable.shape) == 0
    )
    return [
        variable
        for variable in optimizer.variables
        if len(variable.shape) == 0 and not variable.name.startswith(slots)
    ]
