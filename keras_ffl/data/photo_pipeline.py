"""Batches for `fit`, `evaluate` and `predict` from encoded photos."""

import contextlib
import dataclasses
import functools
import re

from keras_ffl.data.augmentation import Augmentation, draw_epoch
from keras_ffl.data.batch_augmentation import make_augment
from keras_ffl.data.photo_decoding import (
    decode_box,
    decode_centre,
    draw_crops,
    random_box,
)
from keras_ffl.data.pipeline import (
    check_batch_size,
    epoch_order,
    finished,
    index_batches,
    normalize,
)
from keras_ffl.errors import InputError
from keras_ffl.optional import tensorflow as tf

_NO_EXAMPLE = -1
# Around the name of a file in an error that TensorFlow brings up.
_MARK = "<photo>"


def training_batches(
    photos,
    info,
    batch_size,
    seed,
    augmentation=None,
    initial_epoch=0,
    epochs=1,
    drop_remainder=False,
    part=None,
):
    """As `keras_ffl.data.training_batches`, of photos on disk.

    Each photo is cut to a random-resized crop. The augmentation's padding
    has no meaning; what else it holds follows the crop.

    Args:
        photos: `EncodedPhotos`.
        info: `DatasetInfo`.
        batch_size: As in `keras_ffl.data.training_batches`, as are all that
            follow.
        seed: Integer.
        augmentation: `Augmentation`, or `None` for the crops alone.
        initial_epoch: Integer.
        epochs: Integer.
        drop_remainder: Boolean.
        part: Function or `None`.

    Returns:
        `tf.data.Dataset` of `(images, labels)`. A photo that can't be decoded
        ends it with an error that `naming_unreadable` makes an `InputError`.

    Raises:
        InputError: If the arguments don't fit together.
    """
    n = len(photos)
    check_batch_size(batch_size, n, drop_remainder)
    augmentation = augmentation or Augmentation(flip=False)
    # Crop and flip are done to each photo by itself, the rest to batches.
    rest = dataclasses.replace(augmentation, pad=0, flip=False)
    augment = make_augment(rest, info)
    drawn = dataclasses.replace(augmentation, pad=0)
    sources = _Sources(photos, batch_size, drop_remainder, part)

    def epoch(number):
        draws = draw_epoch(seed, number, n, drawn)
        crops = draw_crops(seed, number, n) | {"flip": draws["flip"]}

        def decode(encoded, own):
            image = _random_crop(encoded, own, info)
            return image if rest.changes_images else normalize(image, info)

        order = epoch_order(seed, number, n)
        batches = sources.batches(order, crops, decode, info)
        return batches.map(
            lambda images, labels, i: (
                images,
                labels,
                {name: tf.gather(draws[name], i) for name in draws},
            )
        )

    def prepare(images, labels, draws):
        images, labels = augment(images, labels, draws)
        if rest.changes_images:
            images = normalize(images, info)
        return images, labels

    batches = tf.data.Dataset.range(initial_epoch, epochs).flat_map(epoch)
    return finished(batches, prepare)


def evaluation_batches(photos, info, batch_size=100, one_hot=False, part=None):
    """As `keras_ffl.data.evaluation_batches`, of photos on disk.

    Of each photo the square in the centre is shown whose side is
    `info.central_crop` of the photo's shorter one.

    Args:
        photos: `EncodedPhotos`.
        info: `DatasetInfo`.
        batch_size: As in `keras_ffl.data.evaluation_batches`, as are all that
            follow.
        one_hot: Boolean.
        part: Function or `None`.

    Returns:
        `tf.data.Dataset` of `(images, labels)`; of unreadable photos as in
        `training_batches`.

    Raises:
        InputError: If the batch size is no good.
    """
    check_batch_size(batch_size, len(photos))
    sources = _Sources(photos, batch_size, False, part)

    def decode(encoded, _):
        return normalize(decode_centre(encoded, info), info)

    def prepare(images, labels, _):
        if one_hot:
            labels = tf.one_hot(labels, info.num_classes)
        return images, labels

    return finished(
        sources.batches(tf.range(len(photos)), {}, decode, info), prepare
    )


def _random_crop(encoded, draws, info):
    return decode_box(
        encoded,
        lambda size: random_box(size, draws),
        info.input_shape[:2],
        draws["flip"],
    )


class _Sources:
    """Makes batches of decoded photos out of indices."""

    def __init__(self, photos, batch_size, drop_remainder, part):
        self._read = photos.reader()
        self._photos = photos
        self._split = functools.partial(
            index_batches,
            batch_size=batch_size,
            drop_remainder=drop_remainder,
            part=part,
        )
        sizes = self._split(tf.range(len(photos))).map(tf.size)
        self._sizes = list(sizes.as_numpy_iterator())

    def batches(self, order, draws, decode, info):
        """Batches of `(images, labels, indices)`.

        Args:
            order: int32 tensor, the indices of an epoch in their order.
            draws: Dict of tensors with a row for every example.
            decode: Function from an encoded photo and a dict of its rows to
                an image.
            info: `DatasetInfo`.

        Returns:
            `tf.data.Dataset`.
        """

        def decode_example(i, own):
            encoded, label = self._read(i)
            image = decode(encoded, own)
            # A batch of one: to put these together copies a photo once.
            return image[tf.newaxis], label[tf.newaxis], i[tf.newaxis]

        wanted = self._split(order)
        # An error of the decoder doesn't say which photo it comes from. What
        # can't be decoded is passed over here and missed by `_complete`.
        decoded = (
            wanted.map(
                lambda i: (
                    i,
                    {name: tf.gather(draws[name], i) for name in draws},
                )
            )
            .unbatch()
            .map(decode_example, tf.data.AUTOTUNE)
            .ignore_errors()
        )
        # In place of the last one if that is missing; without it, empty
        # batches at the end were lost too.
        after_last = tf.data.Dataset.from_tensors(
            (tf.zeros((1, *info.input_shape)), [0], [_NO_EXAMPLE])
        )
        decoded = decoded.concatenate(after_last).rebatch(self._sizes)
        batches = tf.data.Dataset.zip(wanted, decoded).map(self._complete)
        # Keras warns of a validation whose end it can't foresee.
        return batches.apply(
            tf.data.experimental.assert_cardinality(len(self._sizes))
        )

    def _complete(self, wanted, decoded):
        images, labels, indices = decoded
        common = tf.minimum(tf.size(wanted), tf.size(indices))
        differ = wanted[:common] != indices[:common]
        first = tf.boolean_mask(wanted[:common], differ)[:1]
        name = tf.strings.reduce_join(self._photos.name_of(first))
        complete = tf.debugging.Assert(
            tf.size(first) == 0, [tf.strings.join([_MARK, name, _MARK])]
        )
        with tf.control_dependencies([complete]):
            return tf.identity(images), labels, indices


@contextlib.contextmanager
def naming_unreadable():
    """Makes an `InputError` of a photo that can't be read or decoded.

    To be used around whatever draws batches of photos.

    Raises:
        InputError: It names the file.
    """
    try:
        yield
    # TensorFlow's InvalidArgumentError, where there is TensorFlow.
    except Exception as error:
        found = re.search(f"{_MARK}(.*?){_MARK}", str(error), re.DOTALL)
        if found is None:
            raise
        # TensorFlow has put a backslash before these.
        name = re.sub(r"\\(['\"\\])", r"\1", found[1])
        raise InputError(
            f"photo {name} can't be read or decoded; verify_images finds "
            "all such files and leaves them out"
        ) from error
