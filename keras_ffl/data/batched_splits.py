"""Batches of splits, common to data sets of arrays and of photos."""

import dataclasses

import numpy as np

from keras_ffl.data.batches import Batches, BatchOptions
from keras_ffl.data.epoch_plan import Plan


class BatchedSplits:
    """A data set of two splits.

    Subclasses have `info`, a `DatasetInfo`, and `train` and `test`, which
    `Batches` can read.
    """

    @property
    def num_train(self):
        """Number of training examples."""
        return len(self.train)

    @property
    def counted(self):
        """`info` with the numbers of training and test examples."""
        return dataclasses.replace(
            self.info, num_train=self.num_train, num_test=len(self.test)
        )

    def training_batches(self, batch_size, seed, augmentation=None, **options):
        """Batches of the training split.

        Args:
            batch_size: Int.
            seed: Int >= 0.
            augmentation: `Augmentation`, or None for none.
            **options: Further fields of `keras_ffl.data.BatchOptions`.

        Returns:
            `keras_ffl.data.Batches`.

        Raises:
            InputError: Examples and options don't fit together.
        """
        options = BatchOptions(batch_size, seed, augmentation, **options)
        return Batches(self.train, self.info, options)

    def evaluation_batches(self, batch_size=100, **options):
        """Batches of the test split, in order.

        Args:
            batch_size: Int; the last batch may be smaller.
            **options: Further fields of `keras_ffl.data.BatchOptions`.

        Returns:
            `keras_ffl.data.Batches`.

        Raises:
            InputError: As in `training_batches`.
        """
        return Batches(
            self.test, self.info, BatchOptions(batch_size, **options)
        )

    def test_images(self, indices=slice(None)):
        """Test images as evaluation sees them, before normalisation.

        Args:
            indices: Integer array or slice; all images by default.

        Returns:
            uint8 array (n, height, width, channels).

        Raises:
            InputError: A photo can't be read or decoded.
        """
        plan = Plan(np.arange(len(self.test), dtype="int32"))[indices]
        ((images, _),) = self.test.read(lambda: [plan], self.info)
        return images
