"""Trains tiny models on several devices or workers; run in own processes.

python -m support.replica_training STRATEGY DEVICES OUTPUT CASE ...

writes weights and logs of the cases (keys of `CASES`) to OUTPUT. Workers find
each other by TF_CONFIG.
"""

import os
import sys

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")

import keras
import numpy as np
import tensorflow as tf

from keras_ffl import data
from keras_ffl.backend import make_devices, split_cpu
from keras_ffl.backend.tensorflow.replicas import agreed_if_finite
from keras_ffl.layers.batch_normalization import synchronized_batch_norm
from keras_ffl.methods import (
    DualNetModel,
    FFSDModel,
    MutualLearningModel,
    OneModel,
    PeerCollaborativeModel,
)
from keras_ffl.optimizers import SGD
from support import builders

# The last batch has four images: less than a replica's share of the others.
IMAGES, BATCH = 28, 12
# Evaluated are four at a time: also two at the end, except for one method.
EVALUATED, EVEN = 10, {"ffl": 12}
# With 4 replicas each has 3 of the images, and one whose partner is another's.
AUGMENTATION = data.Augmentation(pad=1, cutout=2, mixup=0.3, cutmix=0.5)


def pair():
    return [builders.subnetwork(name=f"net_{k}") for k in range(2)]


CASES = {
    "ffl": lambda: builders.ffl(rampup_epochs=2),
    "dml": lambda: MutualLearningModel(builders.separate(2)),
    "dualnet": lambda: DualNetModel(pair(), iterative_epochs=1),
    "one": lambda: OneModel(builders.branches(), 0),
    "ffsd": lambda: FFSDModel(builders.separate(3), rampup_epochs=2),
    "pcl": lambda: PeerCollaborativeModel(builders.branches(), 2),
}
CASES["dml_counts"] = CASES["dml"]
# Less than the gradients.
CLIPPED = {
    "ffl": {"global_clipnorm": 0.05},
    "one": {"clipnorm": 0.05},
    "pcl": {"clipvalue": 0.005},
}


def optimizer_of(case):
    if case == "one":
        # Each of the optimizers inside clips the gradients of its weights.
        return keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(
                SGD(0.1, **CLIPPED[case]),
                {
                    ".*gate.*": SGD(0.1, global_clipnorm=0.02),
                    "no weight": SGD(0.1, clipvalue=0.01),
                },
            )
        )
    if case != "dml_counts":
        return SGD(0.1, **CLIPPED.get(case, {}))
    return keras.optimizers.LossScaleOptimizer(
        SGD(0.1, use_ema=True, ema_momentum=0.5, global_clipnorm=0.05),
        initial_scale=2.0**10,
        dynamic_growth_steps=2,
    )


def run(devices, case):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    with devices.scope(), synchronized_batch_norm():
        model = CASES[case]()
        model.compile(optimizer_of(case), metrics=["accuracy"])
    evaluated = EVEN.get(case, EVALUATED)
    x, y = builders.data(IMAGES + evaluated)
    x = np.clip(60 * x + 120, 0, 255).astype("uint8")
    dataset = data.from_arrays(
        x[:IMAGES], y[:IMAGES], x[IMAGES:], y[IMAGES:], num_classes=3
    )
    views = model.views if case == "pcl" else 1
    history = model.fit(
        dataset.training_batches(BATCH, 1, AUGMENTATION, epochs=2, views=views),
        epochs=2,
        steps_per_epoch=3,
        validation_data=dataset.evaluation_batches(
            data.evaluation_batch_size(evaluated, 4, devices.replicas),
            one_hot=True,
        ),
        verbose=0,
    )
    results = {f"log/{k}": v for k, v in history.history.items()}
    for index, weight in enumerate(model.weights):
        value = keras.ops.convert_to_numpy(weight)
        results[f"weight/{index}/{weight.name}"] = value
    for index, variable in enumerate(model.optimizer.variables):
        results[f"slot/{index}"] = keras.ops.convert_to_numpy(variable)
    return results


def agreed(strategy):
    """What two gradients become if the last replica's first is infinite."""
    last = strategy.num_replicas_in_sync - 1

    def gradients():
        context = tf.distribute.get_replica_context()
        number = context.replica_id_in_sync_group
        first = tf.where((number == last) & (last > 0), np.inf, 1.0)
        found = agreed_if_finite([tf.stack([first, 1.0]), None, tf.ones(1)])
        return tf.concat([found[0], found[2]], axis=0)

    found = strategy.run(tf.function(gradients))
    return [v.numpy() for v in strategy.experimental_local_results(found)]


def main():
    name, count, output, *cases = sys.argv[1:]
    split_cpu(int(count))
    devices = make_devices(name)
    results = {
        "replicas": devices.replicas,
        "agreed": agreed(devices.strategy),
    }
    for case in cases:
        for key, value in run(devices, case).items():
            results[f"{case}/{key}"] = value
    np.savez(output, **results)


if __name__ == "__main__":
    main()
