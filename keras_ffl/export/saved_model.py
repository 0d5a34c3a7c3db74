"""Trained heads as SavedModels that need nothing but TensorFlow."""

import pathlib

import keras

from keras_ffl.data import decode_image, normalize
from keras_ffl.errors import InputError
from keras_ffl.export.stock import inference_classifier


def export_head(model, head, info, path, fold=True):
    """Writes one head as a SavedModel, preprocessing included.

    Two signatures give the same outputs: `probabilities` (batch, classes)
    float32, `class_index` (batch,) int64 and `class_name` (batch,) string.

    * `serving_default` takes `images`, uint8 (batch, h, w, channels) of the
      data set's size.
    * `serving_encoded` takes `encoded`, strings (batch,) of JPEG or PNG
      bytes of any size. They are decoded with the data set's number of
      channels, resized with bilinear interpolation and antialiasing, the
      aspect ratio not kept, and rounded to uint8. Where the data set is one
      of photos (`info.central_crop`) they are prepared as for its evaluation
      instead (`keras_ffl.data.decode_centre`).

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        path: Folder to write; it must not exist or be empty.
        fold: Whether batch normalisation is folded into the convolutions
            before it, which makes prediction faster. Rounding apart the
            outputs are the same. A model in half precision is written as it
            is.

    Raises:
        InputError: There is no such head, or the folder can't be written or
            holds something.
    """
    import tensorflow as tf

    classifier = model.classifier(head)
    path = pathlib.Path(path)
    check_output(path)
    if fold:
        classifier = inference_classifier(classifier)
    class_names = tf.constant(info.class_names)

    def classify(images):
        logits = classifier(normalize(images, info), training=False)
        index = tf.argmax(logits, axis=-1)
        return {
            "probabilities": tf.nn.softmax(tf.cast(logits, tf.float32)),
            "class_index": index,
            "class_name": tf.gather(class_names, index),
        }

    def classify_encoded(encoded):
        images = tf.map_fn(
            lambda code: decode_image(code, info),
            encoded,
            fn_output_signature=tf.TensorSpec(info.input_shape, tf.float32),
        )
        return classify(images)

    archive = keras.export.ExportArchive()
    archive.track(classifier)
    archive.add_endpoint(
        "serving_default",
        classify,
        [tf.TensorSpec((None, *info.input_shape), tf.uint8, name="images")],
    )
    archive.add_endpoint(
        "serving_encoded",
        classify_encoded,
        [tf.TensorSpec((None,), tf.string, name="encoded")],
    )
    archive.write_out(path, verbose=False)


def check_output(path):
    """Checks that a folder can be written without losing anything.

    Args:
        path: `pathlib.Path` of the folder; it is made if it isn't there.

    Raises:
        InputError: It can't be written or holds something.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = any(path.iterdir())
    except OSError as error:
        raise InputError(
            f"output {path} can't be written: {error.strerror}"
        ) from error
    if occupied:
        raise InputError(f"output {path} is not empty; nothing was written")
