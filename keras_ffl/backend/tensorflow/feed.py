"""Feeds batches to steps on TensorFlow through `tf.data`."""

from keras_ffl.data import Pixels, Share
from keras_ffl.data.tf_data import by_tf_data
from keras_ffl.data.transform import normalized
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf


def feed(batches, strategy):
    """Batches in the form for `fit`, `evaluate` and `predict`.

    They are augmented on the host and normalised within the step. Until then
    images are uint8, unless CutMix, MixUp or cutout makes them float32.

    Args:
        batches: `keras_ffl.data.Batches`.
        strategy: The model's `tf.distribute.Strategy`. Each of its replicas
            gets its slice of every batch.

    Returns:
        `tf.data.Dataset` or `tf.distribute.DistributedDataset` of `Pixels`
        and labels.

    Raises:
        InputError: `batches.options.steps_per_call` is greater than 1.
    """
    if batches.options.steps_per_call > 1:
        raise InputError(
            "`steps_per_call` must be 1 on TensorFlow, where `compile` takes "
            f"`steps_per_execution`, got {batches.options.steps_per_call}"
        )
    total = strategy.num_replicas_in_sync
    if total == 1:
        return _dataset(batches)

    def make(context):
        local = total // context.num_input_pipelines
        share = Share(context.input_pipeline_id * local, local, total)
        return _dataset(batches.changed(share=share))

    return strategy.distribute_datasets_from_function(make)


def _dataset(batches):
    # If all batches have the same size, their static shape carries it: TPU
    # programs are compiled for it.
    static = batches.slice_size
    mean, scale, *_ = batches.constants

    def finish(pixels, labels, rows):
        pixels, labels = batches.augmented(pixels, labels, rows)
        if batches.options.augmentation.mixes:
            kept = slice(rows["kept"][0], rows["kept"][1])
            pixels, labels = pixels[kept], labels[kept]
        pixels, labels = (
            tf.ensure_shape(t, (static, *t.shape[1:])) for t in (pixels, labels)
        )
        return Pixels(pixels, mean, scale), labels

    return by_tf_data(batches, finish)


def normalized_batch(data):
    """A batch as the network takes it.

    Args:
        data: Batch whose first part may be `Pixels`.

    Returns:
        Batch of the same structure with normalised images.
    """
    if isinstance(data, tuple) and isinstance(data[0], Pixels):
        return normalized(*data[0]), *data[1:]
    return data
