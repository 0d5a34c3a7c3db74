"""Batches on their way to a step on TensorFlow: `tf.data`."""

import dataclasses

from keras_ffl.data import Batches, Pixels, Share
from keras_ffl.data.tf_data import by_tf_data
from keras_ffl.data.transform import normalized
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf


def feed(batches, strategy):
    """Batches as `fit`, `evaluate` and `predict` take them.

    They are augmented on the host, and normalised within the step: until then
    images are bytes, unless they are mixed or cut out.

    Args:
        batches: `keras_ffl.data.Batches`.
        strategy: `tf.distribute.Strategy` of the model. Each of its replicas
            gets its slice of every batch.

    Returns:
        `tf.data.Dataset` or `tf.distribute.DistributedDataset` of `Pixels`
        and labels.

    Raises:
        InputError: If several steps are wanted in one call.
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
        options = dataclasses.replace(batches.options, share=share)
        return _dataset(Batches(batches.examples, batches.info, options))

    return strategy.distribute_datasets_from_function(make)


def _dataset(batches):
    first, stop = batches.slices[:, 2:].T
    sizes = set((stop - first).tolist())
    # Where all batches are of one size their static shape says so: a TPU's
    # programs are compiled for it.
    static = sizes.pop() if len(sizes) == 1 else None
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
        data: Batch, the first of whose parts may be `Pixels`.

    Returns:
        Batch of the same structure, its images normalised.
    """
    if isinstance(data, tuple) and isinstance(data[0], Pixels):
        return normalized(*data[0]), *data[1:]
    return data
