"""Batches of arrays and of photos, and their options."""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops

from keras_ffl.data.augmentation import Augmentation
from keras_ffl.data.epoch_plan import plan_of_epoch
from keras_ffl.data.share import Share, batch_bounds
from keras_ffl.data.transform import constants_of, normalized, transform
from keras_ffl.errors import InputError
from keras_ffl.number_checks import check_int

NO_AUGMENTATION = Augmentation(pad=0, flip=False)


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """How the examples of a split are turned into batches.

    Args:
        batch_size: Int; an epoch's last batch may be smaller.
        seed: Int >= 0. The order and the augmentation of epoch e depend
            on the seed and e alone. None keeps the examples in order.
        augmentation: `Augmentation`, or None for none. Without a seed it can
            only smooth labels.
        initial_epoch: Int, the first epoch.
        initial_step: Int, how many steps of the first epoch to skip, which
            must then be the only one.
        epochs: Int, the epoch before which to stop.
        smallest: Int, an epoch's last batch is dropped if it has fewer
            examples than this; `batch_size` drops any incomplete batch.
        one_hot: Bool, whether integer labels always become float32 rows. An
            augmentation that softens labels turns them into rows anyway.
        views: Int >= 1, how many augmentations of each image a batch holds,
            for methods whose networks each see their own: images (batch,
            views, height, width, channels); 1 for images (batch, height,
            width, channels). CutMix and MixUp mix all views of an image with
            those of its partner in the same way. Not for photos.
        steps_per_call: Int, how many steps a compiled function runs in one
            call, with the data on the device. JAX only, and not for photos.
        share: `Share`, the rows of every batch that are prepared.

    Raises:
        InputError: A number is outside its range, or options contradict
            each other.
    """

    batch_size: int
    seed: int | None = None
    augmentation: Augmentation | None = None
    initial_epoch: int = 0
    initial_step: int = 0
    epochs: int = 1
    smallest: int = 1
    one_hot: bool = False
    views: int = 1
    steps_per_call: int = 1
    share: Share = Share()

    def __post_init__(self):
        if self.seed is not None:
            check_int("seed", self.seed, 0)
        for name in ("batch_size", "views", "steps_per_call"):
            check_int(name, getattr(self, name), 1)
        for name in ("initial_epoch", "initial_step", "epochs"):
            check_int(name, getattr(self, name), 0)
        if self.views > 1 and self.seed is None:
            raise InputError(
                "`views` must be 1 for batches in order (`seed` None), which "
                f"aren't augmented, got {self.views}"
            )
        if self.seed is None and (self.augmentation or NO_AUGMENTATION).draws:
            raise InputError(
                "`seed` must be an int >= 0 for an augmentation that draws "
                f"random numbers, got None and {self.augmentation}"
            )
        if self.initial_step and self.epochs != self.initial_epoch + 1:
            raise InputError(
                "`initial_step` must be 0 for several epochs, got "
                f"{self.initial_step}"
            )
        if self.augmentation is None:
            object.__setattr__(self, "augmentation", NO_AUGMENTATION)


def steps_per_epoch(n, batch_size, smallest=1):
    """Counts the batches in an epoch.

    Args:
        n: Int, number of examples.
        batch_size: Int.
        smallest: Int, a last batch with fewer examples is dropped.

    Returns:
        Int.
    """
    return len(batch_bounds(n, batch_size, smallest))


def steps_per_call(n, batch_size, most=64):
    """How many steps to run in one call on an accelerator.

    Args:
        n: Int, number of examples.
        batch_size: Int.
        most: Int, the largest value to return.

    Returns:
        Int, the largest number up to `most` that divides the number of an
        epoch's full batches, so that one compiled function serves them all;
        half of `most` if every divisor is small.
    """
    full = max(n // batch_size, 1)
    best = max(k for k in range(1, most + 1) if full % k == 0)
    return best if best == full or best > most // 8 else most // 2


class Batches(keras.utils.PyDataset):
    """All batches of a training run or an evaluation.

    Iterating and indexing yield `(images, labels)` as a network takes them,
    NumPy arrays: normalised float32 (batch, height, width, channels), or
    (batch, views, height, width, channels) with `options.views`, and int32
    (batch,) or float32 (batch, num_classes). Any Keras model takes these
    batches. The training methods of this package are fed in the way
    that is fastest on their backend (`keras_ffl.backend`).

    Nothing marks the end of an epoch. `fit` of a training method takes its
    own `initial_epoch` and `epochs` from these batches; another Keras model
    needs both in the options, and `steps_per_epoch` and `shuffle=False` as
    arguments of `fit`, so that it draws all epochs from one iterator, in order,
    instead of starting over in each or mixing them.

    Args:
        examples: `keras_ffl.data.arrays.Examples`, or `EncodedPhotos`.
        info: `DatasetInfo`.
        options: `BatchOptions`.

    Raises:
        InputError: There are too few examples, or the augmentation doesn't
            fit their shape.
    """

    def __init__(self, examples, info, options):
        super().__init__()
        augmentation = options.augmentation
        augmentation.check_input_shape(info.input_shape)
        if options.views > 1 and examples.are_photos:
            raise InputError(
                "`views` must be 1 for photos, whose crops are drawn once for "
                f"each image, got {options.views}"
            )
        if options.steps_per_call > 1 and examples.are_photos:
            raise InputError(
                "`steps_per_call` must be 1 for photos, which are decoded for "
                f"one step after the other, got {options.steps_per_call}"
            )
        self.examples, self.info, self.options = examples, info, options
        self.first_epoch = functools.partial(getattr, options, "initial_epoch")
        self.constants = constants_of(info, augmentation)
        self._planned = None, None
        steps = batch_bounds(
            len(examples), options.batch_size, options.smallest
        )
        self.steps = steps[options.initial_step :]
        sizes = {int(b - a) for a, b in options.share.slices(steps)}
        # Also where few steps are left of an epoch: a step that is compiled
        # for one size rounds differently.
        self.slice_size = sizes.pop() if len(sizes) == 1 else None
        if not len(steps):
            raise InputError(
                f"`batch_size` must be at most {len(examples)}, the number of "
                "examples, when smaller batches are dropped, got "
                f"{options.batch_size}"
            )

    @property
    def soft_labels(self):
        """Whether integer labels become rows over the classes."""
        return self.options.one_hot or self.options.augmentation.softens_labels

    @functools.cached_property
    def calls(self):
        """The steps of each call, at most `options.steps_per_call`.

        A smaller last batch gets a call of its own.

        Returns:
            Integer array (calls, 2), the first step and the one after the
            last.
        """
        sizes = self.steps[:, 1] - self.steps[:, 0]
        full = int((sizes == sizes[0]).sum())
        calls = batch_bounds(full, self.options.steps_per_call)
        rest = [[full, full + 1]] * (len(sizes) - full)
        return np.concatenate([calls, np.reshape(rest, (-1, 2)).astype(int)])

    def changed(self, **options):
        """These batches with other fields of their options."""
        batches = Batches(
            self.examples,
            self.info,
            dataclasses.replace(self.options, **options),
        )
        if "initial_epoch" not in options:
            batches.first_epoch = self.first_epoch
        return batches

    def one_step_per_call(self):
        """The same batches, for evaluation, which runs single steps."""
        return self.changed(steps_per_call=1)

    def of_epochs(self, initial_epoch, epochs, first_epoch=None):
        """The batches of the epochs from `initial_epoch` to before `epochs`.

        Args:
            initial_epoch: Int.
            epochs: Int.
            first_epoch: Function of no arguments to the epoch to begin with,
                called when iteration begins; None for `initial_epoch`.

        Returns:
            `Batches`.
        """
        batches = self.changed(initial_epoch=initial_epoch, epochs=epochs)
        if first_epoch:
            batches.first_epoch = first_epoch
        return batches

    def planner(self):
        """A function from an epoch to its `Plan` that holds no images."""
        return functools.partial(
            plan_of_epoch,
            len(self.examples),
            self.options,
            self.info.input_shape[:2],
            self.examples.are_photos,
        )

    def plan(self, epoch):
        """The `Plan` of an epoch."""
        drawn, plan = self._planned
        if drawn != epoch:
            plan = self.planner()(epoch)
            self._planned = epoch, plan
        return plan

    @functools.cached_property
    def slices(self):
        """The rows to read and to keep for the steps of an epoch.

        Returns:
            Integer array (slices, 4): start and end of the rows of the
            epoch's plan to read, then start and end, relative to the first
            row read, of those to keep. The others are only mixing partners.
        """
        kept = self.options.share.slices(self.steps)
        read = kept.copy()
        if self.options.augmentation.mixes:
            # Read whole pairs; a batch's odd last row needs the one before it,
            # and that one its own partner.
            last = np.repeat(self.steps[:, 1], self.options.share.local)
            first = np.repeat(self.steps[:, 0], self.options.share.local)
            read -= (read - first[:, None]) % 2 * [1, -1]
            over = read[:, 1] > last
            read[over, 1] = last[over]
            read[over, 0] = np.minimum(
                read[over, 0], np.maximum(last - 3, first)[over]
            )
        return np.concatenate([read, kept - read[:, :1]], axis=1)

    def plans(self, first, stop):
        """Yields the plans of slices, which are numbered across epochs."""
        first_epoch = self.first_epoch()
        for number in range(first, stop):
            epoch, k = divmod(number, len(self.slices))
            start, end = self.slices[k, :2]
            yield self.plan(first_epoch + epoch)[start:end]

    def augmented(self, pixels, labels, rows, over_images=ops.map):
        """Augments images; see `transform` for the arguments.

        Returns:
            Tuple of pixels in 0..255 and labels for all rows.
        """
        if self.soft_labels and len(labels.shape) == 1:
            labels = ops.one_hot(labels, self.info.num_classes, dtype="float32")
        return transform(pixels, labels, rows, self.constants, over_images)

    def __len__(self):
        epochs = self.options.epochs - self.options.initial_epoch
        return max(epochs, 0) * len(self.slices)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        (batch,) = self._prepared(index, index + 1)
        return batch

    def __iter__(self):
        return self._prepared(0, len(self))

    def _prepared(self, first, stop):
        plans = functools.partial(self.plans, first, stop)
        read = self.examples.read(plans, self.info)
        for number, plan, batch in zip(range(first, stop), plans(), read):
            kept = slice(*self.slices[number % len(self.slices), 2:])
            pixels, labels = map(ops.convert_to_tensor, batch)
            rows = plan.columns()
            rows = {k: ops.convert_to_tensor(v) for k, v in rows.items()}
            pixels, labels = self.augmented(pixels, labels, rows)
            images = normalized(pixels[kept], *self.constants[:2])
            yield tuple(map(ops.convert_to_numpy, (images, labels[kept])))
