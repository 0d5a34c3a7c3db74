"""Plans: what happens to which examples in the steps of a training.

They are made in NumPy; `keras_ffl.data.in_memory` carries them out on the
device.
"""

import numpy as np

from keras_ffl.data.draws import draw_epoch, epoch_order

# Columns of a plan: which example, where its crop begins (relative to the
# image, so that negative values are in the padding), whether it is mirrored,
# and where the square begins that is cut out.
EXAMPLE, TOP, LEFT, FLIP, CUT_TOP, CUT_LEFT = range(6)


def steps_per_call(n, batch_size, most=64):
    """How many steps of an epoch to run in one call on an accelerator.

    Args:
        n: Integer, number of examples.
        batch_size: Integer.
        most: Integer, the limit.

    Returns:
        Integer, the largest one up to `most` that divides an epoch's full
        batches, so that one compiled function does for all of them; without a
        fair one half of `most`.
    """
    full = max(n // batch_size, 1)
    best = max(k for k in range(1, most + 1) if full % k == 0)
    return best if best == full or best > most // 8 else most // 2


class TrainingPlans:
    """The plans of all epochs of a training, an element for each call.

    Args:
        examples: Integer, number of examples.
        size: Pair of integers, height and width of the images.
        batch_size: Integer.
        seed: Integer.
        augmentation: `Augmentation`.
        initial_epoch: Integer, the first epoch.
        epochs: Integer, the epoch to stop before.
        drop_remainder: Boolean, whether to leave out an epoch's last batch
            if it is smaller than the others.
        steps_per_call: Integer, the most steps in one call. A smaller last
            batch has one for itself.
    """

    def __init__(
        self,
        examples,
        size,
        batch_size,
        seed,
        augmentation,
        initial_epoch,
        epochs,
        drop_remainder,
        steps_per_call,
    ):
        self.examples, self.size = examples, size
        self.batch_size, self.seed = batch_size, seed
        self.augmentation = augmentation
        self.initial_epoch, self.epochs = initial_epoch, epochs
        full, rest = divmod(examples, batch_size)
        per_call = steps_per_call * batch_size
        self._bounds = [
            (start, min(start + per_call, full * batch_size))
            for start in range(0, full * batch_size, per_call)
        ]
        if rest and not drop_remainder:
            self._bounds.append((full * batch_size, examples))
        self._planned = None, None

    @property
    def calls_per_epoch(self):
        """Number of elements in an epoch, an int."""
        return len(self._bounds)

    def __len__(self):
        return self.calls_per_epoch * (self.epochs - self.initial_epoch)

    def __getitem__(self, index):
        """The plan of a call, int32 `(steps, batch, k)`."""
        epoch, call = divmod(index, self.calls_per_epoch)
        start, stop = self._bounds[call]
        plan = self._plan_of(self.initial_epoch + epoch)[start:stop]
        batch = min(self.batch_size, stop - start)
        return plan.reshape(-1, batch, plan.shape[-1])

    def _plan_of(self, epoch):
        """What happens in an epoch, int32 `(n, k)`, in its order."""
        if self._planned[0] != epoch:
            order = epoch_order(self.seed, epoch, self.examples)
            plan = plan_of_epoch(
                self.seed, epoch, order, self.augmentation, self.size
            )
            self._planned = epoch, plan
        return self._planned[1]


def plan_of_epoch(seed, epoch, order, augmentation, size):
    """What happens to the examples of an epoch, a row for each.

    Args:
        seed: Integer.
        epoch: Integer.
        order: int32 array `(n,)`, the epoch's order.
        augmentation: `Augmentation`.
        size: Pair of integers, height and width of the images.

    Returns:
        int32 array `(n, k)` as in
        `keras_ffl.data.in_memory.DeviceBatch`.
    """
    if not (augmentation.pad or augmentation.flip or augmentation.cutout):
        return order[:, np.newaxis]
    draws = draw_epoch(seed, epoch, len(order), augmentation)
    columns = [
        np.arange(len(order)),
        draws["dy"] - augmentation.pad,
        draws["dx"] - augmentation.pad,
        draws["flip"],
    ]
    if augmentation.cutout:
        half = augmentation.cutout // 2
        for name, extent in zip(("cutout_y", "cutout_x"), size):
            centre = draws[name] * np.float32(extent)
            columns.append(centre.astype("int32") - half)
    return np.stack(columns, axis=1).astype("int32")[order]
