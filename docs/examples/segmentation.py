"""Discs, squares and background, pixel by pixel, with two small U-Nets.

The images are made here. A frame of one pixel around each shape has the label
255, which doesn't count.

    python docs/examples/segmentation.py --seed=0 --epochs=30
"""

import keras
import numpy as np
from comparison import run, trained
from keras import layers

import keras_ffl
from keras_ffl.tasks import Segmentation

SIZE, CLASSES, IGNORED = 32, 3, 255


def images_and_labels(count, seed):
    """Noisy images (n, 32, 32, 1) and the classes of their pixels.

    Class 1 is a disc, 2 a square. Brightness doesn't tell them apart.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = rng.normal(scale=0.5, size=(count, SIZE, SIZE, 1))
    y = np.zeros((count, SIZE, SIZE), "int32")
    for image, label in zip(x, y):
        for kind in rng.permutation([1, 2]):
            row, column = rng.uniform(6, SIZE - 6, 2)
            radius = rng.uniform(3, 6)
            down, right = abs(rows - row), abs(columns - column)
            distance = (
                np.hypot(down, right) if kind == 1 else np.maximum(down, right)
            )
            label[distance < radius + 1] = IGNORED
            label[distance < radius] = kind
            image[distance < radius, 0] += rng.uniform(0.7, 1.3)
    return x.astype("float32"), y


def u_net(width=8):
    """Halves the image twice and comes back, with connections across."""

    def convolved(x, filters):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    image = keras.Input((SIZE, SIZE, 1))
    fine = convolved(image, width)
    middle = convolved(layers.MaxPooling2D()(fine), 2 * width)
    x = convolved(layers.MaxPooling2D()(middle), 4 * width)
    for across, filters in ((middle, 2 * width), (fine, width)):
        x = layers.Concatenate()([layers.UpSampling2D()(x), across])
        x = convolved(x, filters)
    return keras.Model(
        image,
        {"features": x, "logits": layers.Conv2D(CLASSES, 1)(x)},
    )


def mean_iou():
    """The mean over the classes of intersection over union."""
    return keras.metrics.MeanIoU(
        CLASSES, ignore_class=IGNORED, sparse_y_pred=False, name="mean_iou"
    )


def main(seed=0, epochs=30):
    keras.utils.set_random_seed(seed)
    train, test = images_and_labels(400, 1), images_and_labels(200, 2)
    task = Segmentation(ignore_class=IGNORED)

    alone = keras_ffl.VanillaModel(u_net(), task=task)
    together = keras_ffl.FeatureFusionModel(
        [u_net(), u_net()],
        rampup_epochs=5,
        # From the fused map to the logits of each of its pixels.
        head=layers.Conv2D(CLASSES, 1),
        task=task,
    )
    return {
        **trained(alone, train, test, epochs, mean_iou),
        **trained(together, train, test, epochs, mean_iou),
    }


if __name__ == "__main__":
    run(main)
