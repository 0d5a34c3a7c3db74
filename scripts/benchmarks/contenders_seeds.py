"""Training steps on JAX for the part seeds; every function gives a `Prepared`.

On accelerators a call makes many steps of the full batch, as a run does there,
on CPUs one step of an eighth of it.
"""

import itertools

from benchmarks.worker import Prepared

_EXAMPLES = 5120


def _model_and_batches(options):
    """The model, and the data of a training that needs not end."""
    from benchmarks.contenders import build_ours, random_arrays
    from keras_ffl import backend, data
    from keras_ffl.data.in_memory import TrainingBatches

    model = build_ours(options)
    model.compile(metrics=["accuracy"])
    fast = backend.has_accelerator()
    batch = options["batch"] if fast else options["batch"] // 8
    batches = TrainingBatches(
        *random_arrays(_EXAMPLES, options["image_size"], options["classes"]),
        batch,
        seed=0,
        augmentation=data.Augmentation(),
        epochs=1_000_000,
        drop_remainder=True,
        steps_per_call=data.steps_per_call(_EXAMPLES, batch) if fast else 1,
    )
    return model, batches


def _calls(training, batches, seeds):
    """A contender that goes through a training call by call.

    Args:
        training: Iterator; each element is what a call logs.
        batches: `TrainingBatches`.
        seeds: Int, how many are trained.
    """
    import jax
    import numpy as np

    plan = batches[0][0].steps()

    def step():
        np.asarray(next(training)["loss"])

    return Prepared(
        step,
        count=seeds * len(plan),
        facts={
            "batch": len(plan[0]),
            "steps in a call": len(plan),
            "device": jax.devices()[0].device_kind,
        },
    )


def one_seed(**options):
    """Training steps of one seed, in the function that `fit` calls."""
    from keras_ffl.backend.jax_seeds import state_of

    model, batches = _model_and_batches(options)
    model._symbolic_build(data_batch=batches[0])
    model.make_train_function()

    def train():
        metrics = [v.value for v in model.metrics_variables]
        state, elements = (
            (*state_of(model), metrics),
            map(batches.__getitem__, itertools.count()),
        )
        while True:
            logs, state = model.train_function(state, elements)
            yield logs

    return _calls(train(), batches, 1)


def seeds_at_once(seeds, **options):
    """Training steps of several seeds in one program."""
    from keras_ffl.backend.jax_seeds import StepsOfSeeds, state_of
    from keras_ffl.data.in_memory import BatchesOfSeeds

    model, batches = _model_and_batches(options)
    together = BatchesOfSeeds(batches, list(range(seeds)))
    steps = StepsOfSeeds(model, batches[0], together.axes)
    elements = map(together.__getitem__, itertools.count())
    # The values of the weights don't change the time of a step.
    state = steps.stacked([state_of(model)] * seeds)
    training = (logs for _, logs in steps.train(state, elements))
    return _calls(training, batches, seeds)
