"""A user's metrics, and what every head of a method reports of them.

    KERAS_BACKEND=jax python -m support.user_metrics METHOD ...

prints what `reported` returns for every method, as JSON.
"""

import json
import sys

import keras
from keras import ops

from support import builders


class TopK(keras.metrics.Metric):
    """Reports its k. It has no `get_config`."""

    def __init__(self, k=1, name=None):
        super().__init__(name=name)
        self.k = k
        self.calls = self.add_weight(initializer="zeros", name="calls")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.calls.assign_add(1)

    def result(self):
        return ops.cast(self.k, "float32")


@keras.saving.register_keras_serializable(package="test")
class SavedTopK(TopK):
    def get_config(self):
        return {"k": self.k, "name": self.name}


def reported(method):
    """An evaluation in two batches with metrics that every head gets.

    Returns:
        Tuple of the logs, of how often each `TopK` was updated and of the
        names of the heads.
    """
    made = []

    def make():
        made.append(TopK(4, name="k"))
        return made[-1]

    model = builders.compiled(
        builders.METHODS[method](),
        metrics=[make, SavedTopK(5, name="saved")],
        weighted_metrics=make,
        jit_compile="auto",
    )
    logs = model.evaluate(
        *builders.data(), batch_size=4, verbose=0, return_dict=True
    )
    calls = [float(ops.convert_to_numpy(each.calls)) for each in made]
    return logs, calls, model.heads


if __name__ == "__main__":
    json.dump([reported(method) for method in sys.argv[1:]], sys.stdout)
