"""What data sets of arrays and of photos share: batches of their splits."""

import numpy as np

from keras_ffl.data.batches import Batches, BatchOptions
from keras_ffl.data.epoch_plan import Plan


class BatchedSplits:
    """A data set of two splits.

    A subclass has `info`, a `DatasetInfo`, and `train` and `test`, which
    `Batches` can read.
    """

    @property
    def num_train(self):
        """Number of training examples."""
        return len(self.train)

    def training_batches(self, batch_size, seed, augmentation=None, **options):
        """Batches of the training split.

        Args:
            batch_size: Integer.
            seed: Integer >= 0.
            augmentation: `Augmentation`, or `None` for none.
            **options: Further ones of `keras_ffl.data.BatchOptions`.

        Returns:
            `keras_ffl.data.Batches`.

        Raises:
            InputError: If examples and options don't fit together.
        """
        options = BatchOptions(batch_size, seed, augmentation, **options)
        return Batches(self.train, self.info, options)

    def evaluation_batches(self, batch_size=100, **options):
        """Batches of the test split in its order.

        Args:
            batch_size: Integer; the last batch may be smaller.
            **options: Further ones of `keras_ffl.data.BatchOptions`.

        Returns:
            `keras_ffl.data.Batches`.

        Raises:
            InputError: As of `training_batches`.
        """
        return Batches(
            self.test, self.info, BatchOptions(batch_size, **options)
        )

    def test_images(self, indices=slice(None)):
        """Test images as evaluation shows them, but not normalised.

        Args:
            indices: Integer array, or a slice; all images by default.

        Returns:
            uint8 array `(n, height, width, channels)`.

        Raises:
            InputError: If a photo can't be read or decoded.
        """
        plan = Plan(np.arange(len(self.test), dtype="int32"))[indices]
        ((images, _),) = self.test.read(lambda: [plan], self.info)
        return images
