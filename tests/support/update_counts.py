"""What optimizers count, and frozen networks, to be run on either backend.

    KERAS_BACKEND=jax python -m support.update_counts FOLDER CASE ...

writes what a case of `CASES` found to `FOLDER/CASE.npz`.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import ops

from keras_ffl.errors import InputError
from keras_ffl.methods import MutualLearningModel
from keras_ffl.optimizers import SGD
from support import builders

METHODS = ("ffl", "one", "dml", "dml_simultaneous", "dualnet", "kd")
BATCH, BATCHES, EPOCHS = 4, 3, 2
# Weights are overwritten by averages after so many of the six batches.
EVERY = 4
EMA_MOMENTUM = 0.8
RATE, SGD_MOMENTUM, DECAY = 0.05, 0.9, 0.01
FIRST_SCALE, GROWTH = 2.0**10, 2


def sgd(every=None, **options):
    """Of `HandSGD`, with averages if `every` is given; 0 for no overwriting."""
    if every is not None:
        options |= {
            "use_ema": True,
            "ema_momentum": EMA_MOMENTUM,
            "ema_overwrite_frequency": every or None,
        }
    return SGD(
        RATE,
        SGD_MOMENTUM,
        weight_decay=DECAY,
        weight_decay_groups={},
        **options,
    )


def scaled(optimizer):
    return keras.optimizers.LossScaleOptimizer(
        optimizer, initial_scale=FIRST_SCALE, dynamic_growth_steps=GROWTH
    )


def given_weights(model, seed=5):
    """The model with weights that are the same on every backend."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            weight.assign(rng.uniform(0.1, 0.6, weight.shape))
    return model


def model_of(method, optimizer):
    keras.utils.set_random_seed(0)
    model = given_weights(builders.METHODS[method]())
    # As they come with Keras' backend by default.
    model.compile(optimizer, run_eagerly=False, jit_compile="auto")
    return model


def batches():
    x, y = builders.data(BATCH * BATCHES)
    return list(zip(np.split(x, BATCHES), np.split(y, BATCHES)))


def arrays(variables):
    return [ops.convert_to_numpy(v).copy() for v in variables]


def averages(method, every, callbacks=()):
    """Weights after `fit`, which are the averages, and the iterations."""
    model = model_of(method, sgd(every))
    x, y = builders.data(BATCH * BATCHES)
    model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    weights = arrays(model.trainable_variables)
    steps = ops.convert_to_numpy(model.optimizer.iterations)
    return _numbered(weights) | {"iterations": steps}


def half_precision(method):
    """The loss scale's counts after every batch, nothing overflowing."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = model_of(method, scaled(sgd()))
    finally:
        keras.config.set_dtype_policy("float32")
    found = []
    for x, y in 2 * batches():
        model.train_on_batch(x, y)
        found.append(scale_of(model))
    return {"counts": np.array(found)}


def scale_of(model):
    """Scale, its counter, and the iterations."""
    optimizer = model.optimizer
    return [
        float(ops.convert_to_numpy(v))
        for v in (
            optimizer.dynamic_scale,
            optimizer.step_counter,
            optimizer.iterations,
        )
    ]


@keras.saving.register_keras_serializable(package="tests")
class Trap(keras.layers.Layer):
    """Adds |w · pixel| to a logit; where the pixel is 0, w's slope is NaN."""

    def __init__(self, channel, **kwargs):
        super().__init__(**kwargs)
        self.channel = channel

    def build(self, image_shape, logits_shape):
        self.w = self.add_weight(shape=(), initializer="ones")

    def call(self, image, logits):
        pixel = image[:, 0, 0, self.channel, None]
        first = np.eye(1, logits.shape[-1], dtype="float32")
        return logits + first * ops.sqrt(ops.square(self.w * pixel))

    def get_config(self):
        return {**super().get_config(), "channel": self.channel}


def trapped(channel):
    """A network whose gradients aren't finite for a black pixel."""
    network = builders.subnetwork(name=f"net_{channel}")
    logits = Trap(channel)(network.input, network.output["logits"])
    outputs = {**network.output, "logits": logits}
    return keras.Model(network.input, outputs, name=f"trapped_{channel}")


def trapped_networks():
    return [given_weights(trapped(k), seed=7 + k) for k in range(2)]


# Which of two networks is not updated in each batch.
SKIPPED = [(), (1,), (0,), (), (), (0, 1), (), ()]


def trapped_batches():
    x, y = builders.data(BATCH * len(SKIPPED), seed=3)
    parts = list(zip(np.split(x, len(SKIPPED)), np.split(y, len(SKIPPED))))
    for (images, _), networks in zip(parts, SKIPPED):
        images[0, 0, 0, list(networks)] = 0.0
    return parts


def overflow(every):
    """One after another, some updates left out by the loss scale."""
    model = MutualLearningModel(trapped_networks())
    model.compile(scaled(sgd(every)), run_eagerly=False, jit_compile="auto")
    model.optimizer.build(model.trainable_variables)
    found, counts = {}, []
    for step, (x, y) in enumerate(trapped_batches()):
        model.train_on_batch(x, y)
        counts.append(scale_of(model))
        for k, network in enumerate(model.subnetworks):
            weights = arrays(network.trainable_variables)
            found |= _numbered(weights, f"step {step} of {k}")
    averaged = model.optimizer.inner_optimizer._model_variables_moving_average
    return found | _numbered(arrays(averaged), "average") | {"counts": counts}


def frozen_peer(frozen):
    """Weights and logs where one of two networks that take turns is frozen."""
    nets = [given_weights(network) for network in builders.separate()]
    nets[frozen].trainable = False
    model = MutualLearningModel(nets)
    model.compile(sgd(), run_eagerly=False, jit_compile="auto")
    for x, y in batches():
        logs = model.train_on_batch(x, y, return_dict=True)
    return _numbered(arrays(model.weights)) | logs


def epochs_by_hand():
    """The ramp-up's weights in `train_on_batch`."""
    model = builders.ffl(rampup_epochs=3)
    model.compile(sgd(), run_eagerly=False, jit_compile="auto")
    found = []
    for _ in range(4):
        for x, y in batches()[:2]:
            logs = model.train_on_batch(x, y, return_dict=True)
            found.append(logs["distillation_weight"])
        model.epochs_trained.assign_add(1)
        model.reset_metrics()
    return {"weights": np.array(found)}


def frozen_models():
    """What training says of models that are frozen, and one turn of DualNet."""
    models = [build() for build in builders.METHODS.values()]
    for model in models:
        model.trainable = False
    turn = builders.METHODS["dualnet"]()
    for name in ("subnetwork_1", "fused_classifier"):
        turn.get_layer(name).trainable = False
    found = {}
    for i, model in enumerate([*models, turn]):
        model.compile(sgd(), run_eagerly=False, jit_compile="auto")
        try:
            model.train_on_batch(*batches()[0])
        except InputError as error:
            found[f"{i}: {type(model).__name__}"] = str(error)
    return found


def _numbered(values, name="value"):
    return {f"{name}: {i}": value for i, value in enumerate(values)}


CASES = {
    **{f"averages_{method}": (averages, method, EVERY) for method in METHODS},
    "averages_never_overwriting": (averages, "dml", 0),
    **{f"scale_{method}": (half_precision, method) for method in METHODS},
    **{f"overflow_{every}": (overflow, every) for every in (0, 3)},
    **{f"frozen_{k}": (frozen_peer, k) for k in range(2)},
    "frozen_models": (frozen_models,),
    "epochs_by_hand": (epochs_by_hand,),
}


def run(case):
    """What a case found, a dict of arrays."""
    function, *arguments = CASES[case]
    return function(*arguments)


def main():
    for case in sys.argv[2:]:
        np.savez(pathlib.Path(sys.argv[1]) / f"{case}.npz", **run(case))


if __name__ == "__main__":
    main()
