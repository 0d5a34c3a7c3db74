"""Exports trained heads as SavedModels that only need TensorFlow."""

import pathlib

import keras

from keras_ffl.data import decode_image, normalize
from keras_ffl.errors import InputError, first_line
from keras_ffl.export.cards import add_card, make_card
from keras_ffl.export.exportable import check_backend, check_info
from keras_ffl.export.stock import inference_classifier
from keras_ffl.whole_files import check_folder


def export_head(model, head, info, path, fold=True):
    """Writes one head as a SavedModel, preprocessing included.

    Two signatures return what the model's task predicts
    (`keras_ffl.tasks.Task.prediction`), for `Classification` `probabilities`
    (batch, classes) float32 and `class_index` (batch,) int64, with
    `class_name` (batch,) string. A third returns only the main output,
    `probabilities` (`values` for `Regression`):

    * `serving_default` takes `images`, uint8 (batch, h, w, channels) of the
      data set's size, or of any size where `info.input_shape` has None.
    * `serving_encoded` takes `encoded`, strings (batch,) of JPEG or PNG
      bytes of any size. It decodes them with the data set's number of
      channels (and exists only if there are 1, 3 or 4), resizes them with
      bilinear interpolation (with antialiasing if `info.antialias`), ignoring
      the aspect ratio, and rounds to uint8. For a data set of photos
      (`info.central_crop`) it prepares them as for evaluation instead
      (`keras_ffl.data.decode_centre`). If `info.input_shape` has None, images
      keep their sizes and go through the network one by one.
    * `serving_probabilities` takes the same inputs as `serving_default`.
      Without strings it can be compiled by XLA.

    Inputs of other shapes are rejected; an empty batch returns an empty
    result. Where outputs depend on an image's size, as in segmentation of
    images of any size, the encoded images of a batch must have one size.
    `model_card.json` in the folder describes the head.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        head: One of `model.heads`.
        info: `keras_ffl.data.DatasetInfo` of the data it was trained on.
        path: Folder to write, either new or empty.
        fold: Bool, whether to fold batch normalisation into the convolutions
            before it, which makes prediction faster. Outputs are the same up
            to rounding. A model in half precision is written unchanged.

    Raises:
        InputError: There is no such head, `info` doesn't fit the model's
            data, the folder can't be written or isn't empty, or Keras' backend
            isn't TensorFlow.
    """
    check_backend("saved_model")
    import tensorflow as tf

    classifier = model.classifier(head)
    check_info(model, info)
    path = pathlib.Path(path)
    check_output(path)
    if fold:
        classifier = inference_classifier(classifier)
    class_names = tf.constant(info.class_names)
    shape = (None, *info.input_shape)

    # A separate function, so that the signatures share its graph.
    @tf.function(autograph=False)
    def network(images):
        return classifier(normalize(images, info), training=False)

    def logits_of(images):
        # Signatures don't check shapes, and operations broadcast.
        images = tf.ensure_shape(images, shape)
        # Some kernels fail on an empty batch, so an image of zeros is added.
        count = tf.shape(images)[0]
        missing = tf.cast(tf.equal(count, 0), tf.int32)
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        logits = network(tf.cast(images, tf.float32))[:count]
        return tf.cast(logits, tf.float32)

    task = model.task

    def prediction(logits):
        predicted = task.prediction(logits)
        # A task's own prediction may lack it.
        if task.counts_classes and "class_index" in predicted:
            index = predicted["class_index"]
            predicted["class_name"] = tf.gather(class_names, index)
        return predicted

    def classify_encoded(encoded):
        encoded = tf.ensure_shape(encoded, (None,))
        if None not in info.input_shape:
            images = tf.map_fn(
                lambda code: decode_image(code, info),
                encoded,
                fn_output_signature=tf.TensorSpec(info.input_shape, tf.uint8),
            )
            return prediction(logits_of(images))
        logits = tf.map_fn(
            lambda code: logits_of(decode_image(code, info)[tf.newaxis])[0],
            encoded,
            fn_output_signature=tf.TensorSpec(model.head_shape[1:]),
        )
        return prediction(logits)

    def classify(images):
        return prediction(logits_of(images))

    def predict(images):
        name = task.output_name
        return {name: task.prediction(logits_of(images))[name]}

    archive = keras.export.ExportArchive()
    archive.track(classifier)
    images = tf.TensorSpec(shape, tf.uint8, name="images")
    archive.add_endpoint("serving_default", classify, [images])
    archive.add_endpoint("serving_probabilities", predict, [images])
    # TensorFlow decodes to 1, 3 or 4 channels.
    if info.input_shape[-1] in (1, 3, 4):
        encoded = tf.TensorSpec((None,), tf.string, name="encoded")
        archive.add_endpoint("serving_encoded", classify_encoded, [encoded])
    try:
        archive.write_out(path, verbose=False)
        add_card(path, make_card(model, head, info, "saved_model"))
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"`output` {path} can't be written: {first_line(error)}"
        ) from error


def check_loadable(path):
    """Raises `InputError` if TensorFlow would take a path for a pattern."""
    if set(str(path)) & set("[]\\"):
        raise InputError(
            "`output` of a SavedModel must be a path without brackets and "
            f"backslashes, with which TensorFlow can't load it, got {path}"
        )


def check_output(path):
    """Checks that a folder can be written without overwriting anything.

    Args:
        path: `pathlib.Path` of the folder, created if necessary.

    Raises:
        InputError: The folder can't be written or isn't empty, or TensorFlow
            couldn't load it.
    """
    check_loadable(path)
    check_folder(path, "output")
    if any(path.iterdir()):
        raise InputError(f"`output` {path} is not empty; nothing was written")
