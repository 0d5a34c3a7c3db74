"""Steps of every method from given weights, to be run on either backend.

    KERAS_BACKEND=jax python -m support.method_steps FOLDER METHOD ...

reads `FOLDER/METHOD.npz`, the initial weights, and writes what `take_steps`
returns to `FOLDER/METHOD_jax.npz` and the model to `FOLDER/METHOD_jax.keras`.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import ops

from keras_ffl.methods import PeerCollaborativeModel
from keras_ffl.optimizers import SGD
from support import builders, combinations, ranks
from support.task_references import TASKS

BATCH, STEPS = 4, 3


def model_of(method):
    """The compiled model of a method."""
    known = builders.METHODS | ranks.METHODS | combinations.METHODS
    model = known[method]()
    # At a higher rate regression diverges, and rounding errors with it.
    rate = 0.002 if method in combinations.METHODS else 0.05
    model.compile(
        SGD(rate, weight_decay=1e-2),
        metrics=model.task.metrics(model.head_shape),
        run_eagerly=False,
        jit_compile="auto",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def data_of(model):
    """Images and labels of the model's task."""
    x, y = builders.data(BATCH * STEPS, image=model.input_shape[1:])
    for task, _, labels, *_ in TASKS.values():
        if type(task) is type(model.task) and not task.counts_classes:
            y = labels(np.random.default_rng(0), BATCH * STEPS)
    return x, y


def take_steps(model):
    """Trains for some steps, each logged, and evaluates after them.

    Returns:
        Dict of float arrays: logs by step, weights, the optimizer's slots,
        logs of the evaluation and the logits of all heads.
    """
    x, y = data_of(model)
    found = {}
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        weights = np.linspace(0.5, 1.5, BATCH, dtype="float32")
        images = x[rows]
        if isinstance(model, PeerCollaborativeModel):
            views = range(model.views)
            images = np.stack([images * (1 - k / 4) for k in views], axis=1)
        logs = model.train_on_batch(
            images, y[rows], sample_weight=weights, return_dict=True
        )
        found |= {f"step {step}: {name}": v for name, v in logs.items()}
        if step == 0:
            # The first momentum is the gradient, the decay included.
            found |= _numbered("gradient", model.optimizer.variables)
    found |= _numbered("weight", model.weights)
    found |= _numbered("slot", model.optimizer.variables)
    return found | evaluated(model)


def evaluated(model):
    """Logs of an evaluation, and the logits of all heads."""
    x, y = data_of(model)
    logs = model.evaluate(x, y, BATCH, verbose=0, return_dict=True)
    found = {f"evaluation: {name}": v for name, v in logs.items()}
    logits = model.predict(x, batch_size=BATCH, verbose=0)
    return found | {f"logits of {head}": v for head, v in logits.items()}


def _numbered(kind, variables):
    return {
        f"{kind} {i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)
    }


def initial_weights(model):
    """All weights of a model, a dict that `give_weights` takes."""
    return _numbered("weight", model.weights)


def give_weights(model, weights):
    """Assigns the weights that `initial_weights` returned."""
    for i, variable in enumerate(model.weights):
        variable.assign(weights[f"weight {i}"])


def main():
    folder = pathlib.Path(sys.argv[1])
    for method in sys.argv[2:]:
        model = model_of(method)
        with np.load(folder / f"{method}.npz") as weights:
            give_weights(model, weights)
        np.savez(folder / f"{method}_jax.npz", **take_steps(model))
        model.save(folder / f"{method}_jax.keras")
        # The model that the other backend saved.
        model = keras.models.load_model(folder / f"{method}.keras")
        np.savez(folder / f"{method}_loaded_jax.npz", **evaluated(model))


if __name__ == "__main__":
    main()
