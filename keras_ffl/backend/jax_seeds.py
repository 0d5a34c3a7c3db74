"""Several trainings of one model in one program on JAX, by `jax.vmap`.

A state is what one training has of its own: a tuple of lists of arrays, the
values of the model's trainable and other variables and the optimizer's. The
states of several trainings differ by their seed only.
"""

from keras_ffl.optional import jax


def state_of(model):
    """The state that a model has, its optimizer built.

    Args:
        model: Compiled `keras_ffl.backend.jax.MethodModel`.
    """
    model.optimizer.build(model.trainable_variables)
    return tuple([v.value for v in group] for group in _groups(model))


def give_state(model, state):
    """Gives a model's variables the values of a state."""
    for group, values in zip(_groups(model), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)


def _groups(model):
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )


class StepsOfSeeds:
    """The steps of a model, made for several states at once.

    Args:
        model: Compiled `keras_ffl.backend.jax.MethodModel`.
        batch: A batch for one state as Keras is given it.
        axes: The axis of the states in each array of a batch for all of
            them, in the batch's structure; None where they share it.
    """

    def __init__(self, model, batch, axes):
        model._symbolic_build(data_batch=batch)
        model.reset_metrics()
        self._first_metrics = [v.value for v in model.metrics_variables]
        own = [[0] * len(group) for group in _groups(model)]
        if model.turns:
            # The counters that choose the turn are the same for all states.
            # Shared, they leave the choice a branch; of several values it
            # would be a selection from the results of all turns.
            counters = {id(model.optimizer.iterations)}
            counters.add(id(model.epochs_trained))
            own = [
                [None if id(v) in counters else 0 for v in group]
                for group in _groups(model)
            ]
        self._axes = tuple(own)

        def train(state, metrics, batch):
            logs, (*state, metrics) = model.train_step((*state, metrics), batch)
            return logs, tuple(state), metrics

        def test(state, metrics, batch):
            logs, (*_, metrics) = model.test_step((*state[:2], metrics), batch)
            return logs, metrics

        self._train = jax.jit(
            jax.vmap(
                train,
                in_axes=(self._axes, 0, axes),
                out_axes=(0, self._axes, 0),
            ),
            donate_argnums=(0, 1),
        )
        self._test = jax.jit(
            jax.vmap(test, in_axes=(self._axes, 0, None)), donate_argnums=1
        )

    def stacked(self, states):
        """Several states as one, each variable's values side by side."""

        def stack(axis, *values):
            # What is shared is copied: a step takes its arguments' memory.
            return (
                jax.numpy.stack(values)
                if axis == 0
                else jax.numpy.copy(values[0])
            )

        return tuple(
            [stack(axis, *values) for axis, *values in zip(*group, strict=True)]
            for group in zip(self._axes, *states, strict=True)
        )

    def separate(self, state, count):
        """The states that `stacked` was given, a list of so many."""
        return [
            tuple(
                [
                    value[k] if axis == 0 else value
                    for axis, value in zip(axes, values, strict=True)
                ]
                for axes, values in zip(self._axes, state, strict=True)
            )
            for k in range(count)
        ]

    def train(self, state, batches):
        """Trains all states by some batches; generates what they log.

        Args:
            state: What `stacked` returned. It can't be used afterwards.
            batches: Iterable of batches for all states.

        Yields:
            After each batch a tuple of the state and a dict of the running
            means, arrays of a value for each state.
        """
        metrics = self._new_metrics(state)
        for batch in batches:
            logs, state, metrics = self._train(state, metrics, batch)
            yield state, logs

    def evaluate(self, state, batches):
        """Loss and metrics of all states.

        Args:
            state: What `stacked` returned.
            batches: Iterable of batches, the same for all states.

        Returns:
            Dict of arrays of a value for each state.
        """
        metrics = self._new_metrics(state)
        for batch in batches:
            logs, metrics = self._test(state, metrics, batch)
        return logs

    def _new_metrics(self, state):
        count = len(state[0][0])
        return [
            jax.numpy.stack([value] * count) for value in self._first_metrics
        ]
