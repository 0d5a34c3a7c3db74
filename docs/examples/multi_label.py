"""Several labels for each of scikit-learn's digits: even, large, prime, looped.

python docs/examples/multi_label.py --seed=0 --epochs=30
"""

import keras
import numpy as np
from comparison import normalised_digits, run, trained

import keras_ffl
from keras_ffl.models import vit
from keras_ffl.tasks import MultiLabel, binary_accuracy

# Which digits are even, at least 5, prime, and drawn with a closed loop.
LABELS = ((0, 2, 4, 6, 8), (5, 6, 7, 8, 9), (2, 3, 5, 7), (0, 6, 8, 9))


def labels_of(digits):
    """0 or 1 for each of `LABELS`, float32 (n, 4)."""
    columns = [np.isin(digits, with_label) for with_label in LABELS]
    return np.stack(columns, axis=1).astype("float32")


def main(seed=0, epochs=30):
    keras.utils.set_random_seed(seed)
    info, *splits = normalised_digits()
    train, test = ((images, labels_of(digits)) for images, digits in splits)

    def network():
        return vit(len(LABELS), info.input_shape, 3, width=48, mlp_ratio=2)

    alone = keras_ffl.VanillaModel(network(), task=MultiLabel())
    together = keras_ffl.FeatureFusionModel(
        [network(), network()], rampup_epochs=5, task=MultiLabel()
    )
    return {
        **trained(alone, train, test, epochs, binary_accuracy),
        **trained(together, train, test, epochs, binary_accuracy),
    }


if __name__ == "__main__":
    run(main)
