"""Fine-tunes a whole feature extractor."""

import dataclasses

import keras

from keras_ffl import data
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.methods import VanillaModel
from keras_ffl.models.components import pooled_logits
from keras_ffl.models.flattening import flat_copy
from keras_ffl.optimizers import SGD
from keras_ffl.schedules import Cosine


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How all weights of a network are fine-tuned.

    SGD with Nesterov momentum 0.9 and L2 decay in the gradient
    (`keras_ffl.optimizers.SGD`), a rate that falls along half a cosine, a new
    classifier, and the augmentation of the method's recipe: reflect padding,
    random crop, and a flip if the data set allows it.

    Args:
        epochs: Int >= 1.
        learning_rate: Float > 0, rate of the first epoch.
        batch_size: Int >= 1.
        weight_decay: Float >= 0.
        pad: Int >= 0, pixels of padding before the crop.
        seed: Int, seed of the classifier, the order and the augmentation.
    """

    epochs: int = 20
    learning_rate: float = 0.03
    batch_size: int = 64
    weight_decay: float = 1e-4
    pad: int = 4
    seed: int = 0


def fine_tune(extractor, dataset, options=FineTuning()):
    """Trains a copy of an extractor and a new classifier on another data set.

    Args:
        extractor: Functional `keras.Model` from images to a feature map
            (batch, h, w, C), tokens (batch, tokens, C) or a vector (batch,
            C). It stays unchanged.
        dataset: `keras_ffl.data.Dataset` with its image shape.
        options: `FineTuning`.

    Returns:
        Dict of the results after the last epoch, as in `evaluate_heads` for
        one head.
    """
    copy = flat_copy(extractor)
    # Also what its own training left as it was. On TensorFlow, Keras ignores
    # a value that the model itself has already.
    copy.trainable = False
    copy.trainable = True
    features = copy.outputs[0]
    # Set here, so that all extractors get the same classifier.
    keras.utils.set_random_seed(options.seed)
    classes = dataset.info.num_classes
    logits = pooled_logits(features, classes, prefix="new_")
    outputs = {"features": features, "logits": logits}
    model = VanillaModel(keras.Model(copy.inputs[0], outputs))
    model.compile(SGD(options.learning_rate, weight_decay=options.weight_decay))
    batches = dataset.training_batches(
        options.batch_size,
        options.seed,
        data.Augmentation(pad=options.pad, flip=dataset.info.flip),
    )
    schedule = Cosine(options.learning_rate, options.epochs)
    model.fit(
        batches,
        epochs=options.epochs,
        verbose=0,
        callbacks=[keras.callbacks.LearningRateScheduler(schedule)],
    )
    test = dataset.evaluation_batches()
    return evaluate_heads(model, test, dataset.y_test)["vanilla"]
