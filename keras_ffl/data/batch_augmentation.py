"""Augmentation of a batch, with what keras-cv brings to it."""

import warnings

from keras_ffl.data.augmentation import crop_and_flip, cut_out
from keras_ffl.optional import tensorflow as tf


def make_augment(augmentation, info):
    """Makes the function that augments a batch.

    Args:
        augmentation: `Augmentation`.
        info: `DatasetInfo` of the images.

    Returns:
        Function from `(images, labels, draws)` to `(images, labels)` for use
        within `tf.data`. It takes uint8 images, integer labels or rows over
        the classes, and the batch's part of `draw_epoch`; it returns float32
        images in 0..255 and the labels, float32 rows if they become soft.

    Raises:
        InputError: If the images can't be augmented so.
    """
    augmentation.check_input_shape(info.input_shape)
    randaugment, mixers = _keras_cv_layers(augmentation)

    def augment(images, labels, draws):
        if augmentation.pad or augmentation.flip:
            images = crop_and_flip(images, draws, augmentation)
        images = tf.cast(images, tf.float32)
        if randaugment is not None:
            images = _clipped(randaugment(images, training=True))
        if augmentation.cutout:
            images = cut_out(images, draws, augmentation.cutout, info.mean)
        if augmentation.softens_labels and labels.shape.rank == 1:
            labels = tf.one_hot(labels, info.num_classes)
        if augmentation.label_smoothing:
            labels = _smoothed(labels, augmentation.label_smoothing)
        if mixers:
            images, labels = _mix(mixers, images, labels)
        return images, labels

    return augment


def _keras_cv_layers(augmentation):
    """Returns keras-cv's RandAugment or None, and a list of mixing layers."""
    if not augmentation.unseeded:
        return None, []
    warnings.warn(
        f"{', '.join(augmentation.unseeded)}: these augmentations don't "
        "depend on seed and epoch alone; runs with them can't be repeated "
        "or resumed exactly",
        UserWarning,
        stacklevel=4,
    )
    from keras_cv import layers

    randaugment = None
    if augmentation.randaugment:
        randaugment = layers.RandAugment(
            value_range=(0, 255),
            augmentations_per_image=2,
            magnitude=augmentation.randaugment / 10,
        )
    mixers = []
    if augmentation.cutmix:
        mixers.append(layers.CutMix(alpha=augmentation.cutmix))
    if augmentation.mixup:
        mixers.append(layers.MixUp(alpha=augmentation.mixup))
    return randaugment, mixers


def _smoothed(labels, part):
    return (1 - part) * labels + part / labels.shape[-1]


def _mix(mixers, images, labels):
    batch = {"images": images, "labels": labels}
    for mixer in mixers:
        batch = mixer(batch, training=True)
    return _clipped(batch["images"]), batch["labels"]


def _clipped(images):
    """Undoes the rounding errors by which keras-cv leaves 0..255."""
    return tf.clip_by_value(images, 0, 255)
