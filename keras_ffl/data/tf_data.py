"""Batches by `tf.data`, in parallel and in a fixed order."""

import numpy as np

from keras_ffl.optional import tensorflow as tf


def by_tf_data(batches, finish):
    """Reads the images of all batches within `tf.data`.

    Args:
        batches: `Batches`.
        finish: Function of uint8 images, labels and a dict of tensors, the
            columns of their plan. Its additional key `kept` holds start and
            end of the rows of the slice to keep.

    Returns:
        `tf.data.Dataset` of the results of `finish`, one for each of
        `batches.slices` in each epoch.
    """
    options = batches.options
    epochs = range(options.epochs - options.initial_epoch)
    # TensorFlow keeps what the generator refers to, after the last use too.
    plan_of, first_epoch = batches.planner(), batches.first_epoch
    slices = batches.slices

    def rows_of(columns):
        return tf.data.Dataset.from_tensor_slices(slices).map(
            lambda each: {
                **{k: v[each[0] : each[1]] for k, v in columns.items()},
                "kept": each[2:],
            }
        )

    plans = tf.data.Dataset.from_generator(
        lambda: (plan_of(first_epoch() + epoch).columns() for epoch in epochs),
        output_signature=signature(batches.plan(options.initial_epoch)),
    )
    read = batches.examples.read_by_tf_data(
        plans, rows_of, slices[:, 1] - slices[:, 0], batches.info, finish
    )
    settings = tf.data.Options()
    settings.deterministic = True
    # All replicas and workers must see the batches in the same global order.
    settings.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    # Keras warns about validation data of unknown length.
    counted = tf.data.experimental.assert_cardinality(len(batches))
    finished = read.prefetch(tf.data.AUTOTUNE).apply(counted)
    return untuned(finished.with_options(settings))


def untuned(dataset):
    """The same `tf.data.Dataset` without a thread that tunes it.

    Whoever deletes an iterator waits for that thread. On busy cores the thread
    can miss that it should end, and then sleeps on for up to a minute. Maps
    that want more than 16 parallel calls have to say so.
    """
    settings = tf.data.Options()
    settings.autotune.enabled = False
    return dataset.with_options(settings)


def signature(plan):
    """Shapes and dtypes of a plan's columns, for any number of rows."""
    return {
        name: tf.TensorSpec((None, *column.shape[1:]), np.dtype(column.dtype))
        for name, column in plan.columns().items()
    }
