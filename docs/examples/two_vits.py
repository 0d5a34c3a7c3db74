"""Two vision transformers that teach each other, on scikit-learn's digits.

python docs/examples/two_vits.py --seed=0 --epochs=30
"""

import keras
from comparison import normalised_digits, run, trained

import keras_ffl
from keras_ffl.models import vit


def main(seed=0, epochs=30):
    keras.utils.set_random_seed(seed)
    info, train, test = normalised_digits()

    def network():
        # 16 patches of 4 x 4 pixels: the features are 16 tokens.
        return vit(info.num_classes, info.input_shape, 3, width=48, mlp_ratio=2)

    alone = keras_ffl.VanillaModel(network())
    together = keras_ffl.FeatureFusionModel(
        [network(), network()], rampup_epochs=5
    )
    return {
        **trained(alone, train, test, epochs, "accuracy"),
        **trained(together, train, test, epochs, "accuracy"),
    }


if __name__ == "__main__":
    run(main)
