"""The plan of an epoch: its examples, their order and all random draws.

A plan consists of NumPy arrays alone, so it is the same on every backend.
"""

import dataclasses
import functools
import math

import numpy as np

from keras_ffl.data import randaugment

# The random-resized crop of Szegedy et al. (2015), with torchvision's values.
_AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10

# The columns that each view of an image has for itself.
PER_VIEW = ("crop", "flip", "operation", "strength", "affine", "cutout")


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What happens to the examples of an epoch, one row each, in order.

    A column is None if its operation is not used. A slice of a plan is a
    plan. With several views of each image, those of `PER_VIEW` have one more
    axis after the first, with as many entries: (n, views, ...).

    Attributes:
        example: int32 (n,), the example's number.
        crop: int32 (n, 2), top and left of the crop in the image; negative
            values are in the padding.
        flip: bool (n,), whether the padded image is mirrored before the
            crop.
        sides: float32 (n, 2, 10), heights and widths of ten tries of a
            photo's random-resized crop, relative to the square root of the
            photo's area.
        corner: float32 (n, 2) in [0, 1), position of that crop within its
            possible range.
        operation: int32 (n, 2), the operations of RandAugment, see
            `keras_ffl.data.randaugment.OPERATIONS`.
        strength: int32 (n, 2), their strengths.
        affine: int32 (n, 2, 6), maps from a pixel of their result to a pixel
            of the image.
        cutout: int32 (n, 4), top, left, bottom and right of the square to
            fill, which may extend beyond the image.
        cutmix: int32 (n, 4), the box to take from the partner, clipped to
            the image.
        mixup: float32 (n,), the weight of the image itself in its mixture.
        partner: int32 (n,), offset from the image's row to that of its
            partner in CutMix and MixUp. Both are in the same batch.
    """

    example: np.ndarray
    crop: np.ndarray | None = None
    flip: np.ndarray | None = None
    sides: np.ndarray | None = None
    corner: np.ndarray | None = None
    operation: np.ndarray | None = None
    strength: np.ndarray | None = None
    affine: np.ndarray | None = None
    cutout: np.ndarray | None = None
    cutmix: np.ndarray | None = None
    mixup: np.ndarray | None = None
    partner: np.ndarray | None = None

    def columns(self):
        """The columns that are present, a dict of arrays by name."""
        return {k: v for k, v in vars(self).items() if v is not None}

    def __len__(self):
        return len(self.example)

    def __getitem__(self, rows):
        """The plan of some rows, given as a slice or as an array of indices."""
        return Plan(**{k: v[rows] for k, v in self.columns().items()})


def plan_of_epoch(n, options, size, photos, epoch):
    """Draws an epoch's plan.

    Each kind of draw has its own stream, keyed by the seed, the epoch and the
    stream's number, so that no draw depends on which others are in use. The
    views of an image after the first have streams of their own; it is drawn
    as if it were the only one.

    Args:
        n: Int, number of examples.
        options: `keras_ffl.data.BatchOptions`. Without a seed the examples
            stay in order and nothing is drawn.
        size: Pair of int, height and width of the images.
        photos: Bool, whether random-resized crops of photos replace
            padding and crop.
        epoch: Int.

    Returns:
        `Plan` of `n` rows.
    """
    if options.seed is None:
        return Plan(np.arange(n, dtype="int32"))

    def stream(number, view=0):
        key = (epoch, number, view) if view else (epoch, number)
        seed = np.random.SeedSequence(options.seed, spawn_key=key)
        return np.random.Generator(np.random.Philox(seed))

    todo = options.augmentation
    draws, *others = (
        _draws_of_view(
            functools.partial(stream, view=view), n, todo, size, photos
        )
        for view in range(options.views)
    )
    if others:
        draws = {
            name: np.stack([column, *(each[name] for each in others)], axis=1)
            for name, column in draws.items()
        }
        # That there are views is read from the crop.
        whole = np.zeros((n, options.views, 2), "int32")
        draws.setdefault("crop", whole)
    if todo.cutmix:
        draws["cutmix"] = _cutmix_boxes(stream(4), n, todo.cutmix, size)
    if todo.mixup:
        weights = stream(5).beta(todo.mixup, todo.mixup, n)
        draws["mixup"] = weights.astype("float32")
    if todo.mixes:
        draws["partner"] = partners(n, options.batch_size)
    return Plan(stream(0).permutation(np.arange(n, dtype="int32")), **draws)


def _draws_of_view(stream, n, todo, size, photos):
    """The columns of a plan for one view of each image, a dict."""
    draws = {}
    if photos:
        draws |= _photo_crops(stream(6), n)
    elif todo.pad or todo.flip:
        limits = -todo.pad, todo.pad + 1
        draws["crop"] = stream(1).integers(*limits, (n, 2), "int32")
    if todo.flip:
        draws["flip"] = stream(2).integers(0, 2, n, "int8").astype(bool)
    if todo.randaugment:
        draws |= randaugment.draw(stream(7), n, todo.randaugment, size)
    if todo.cutout:
        centre = stream(3).integers(0, size, (n, 2), "int32")
        first = centre - todo.cutout // 2
        draws["cutout"] = np.concatenate([first, first + todo.cutout], axis=1)
    return draws


def partners(n, batch_size):
    """Offsets from the rows of an epoch to their mixing partners.

    The rows are in random order, so neighbours serve as partners: the rows of
    a batch form pairs, and an odd last row takes the one before it.

    Args:
        n: Int, number of rows.
        batch_size: Int.

    Returns:
        int32 array (n,) of 1, -1 and, for a batch of one, 0.
    """
    place = np.arange(n) % batch_size
    offset = 1 - 2 * (place % 2)
    last = np.arange(n) == n - 1
    last |= place == batch_size - 1
    alone = last & (place % 2 == 0)
    offset[alone] = np.where(place[alone] == 0, 0, -1)
    return offset.astype("int32")


def _photo_crops(stream, n):
    area = stream.uniform(*_AREA, (n, TRIES))
    ratio = np.exp(stream.uniform(*map(math.log, RATIO), (n, TRIES)))
    sides = np.sqrt(np.stack([area / ratio, area * ratio], axis=1))
    return {
        "sides": sides.astype("float32"),
        "corner": stream.random((n, 2), "float32"),
    }


def _cutmix_boxes(stream, n, alpha, size):
    """Boxes that cover 1 - λ of the image, λ drawn from Beta(α, α)."""
    part = np.sqrt(1 - stream.beta(alpha, alpha, (n, 1)))
    sides = (part * size).astype("int32")
    first = stream.integers(0, size, (n, 2), "int32") - sides // 2
    box = np.concatenate([first, first + sides], axis=1)
    return np.clip(box, 0, [*size, *size]).astype("int32")
