"""A convolutional network and a vision transformer, on scikit-learn's digits.

Their features differ in rank: a map of 4 x 4 positions, and 16 tokens. The
fusion module folds the tokens to a map, since their number is a square.

    python docs/examples/cnn_and_vit.py --seed=0 --epochs=30
"""

import keras
from comparison import normalised_digits, run, trained

import keras_ffl
from keras_ffl.models import build, vit


def main(seed=0, epochs=30):
    keras.utils.set_random_seed(seed)
    info, train, test = normalised_digits()

    def networks():
        return [
            build("resnet8", info.num_classes, info.input_shape),
            vit(info.num_classes, info.input_shape, 3, width=48, mlp_ratio=2),
        ]

    cnn, transformer = networks()
    together = keras_ffl.FeatureFusionModel(networks(), rampup_epochs=5)
    scores = {}
    for name, network in (("cnn alone", cnn), ("vit alone", transformer)):
        print(name)
        alone = keras_ffl.VanillaModel(network)
        scores[name] = trained(alone, train, test, epochs, "accuracy")
    print("together: sub_1 is the cnn, sub_2 the vit")
    return {**scores, **trained(together, train, test, epochs, "accuracy")}


if __name__ == "__main__":
    run(main)
