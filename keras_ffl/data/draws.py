"""The random draws of an epoch in NumPy, without TensorFlow.

They are those of `keras_ffl.data.augmentation` bit by bit, so that a run shows
the same images in the same order whatever prepares them. The generator is
Philox with 4 words of 32 bits and 10 rounds, used as TensorFlow's stateless
operations use it.

Reference:
    Salmon et al., 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", SC.
"""

import numpy as np

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# TensorFlow scrambles a seed with this key before it is used.
_SCRAMBLE = np.uint64(0x3EC8F720), np.uint64(0x02461E29)


def _philox(key, counter):
    """One block of four words for each counter.

    Args:
        key: Pair of uint64 below 2**32.
        counter: Four uint64 arrays `(n,)`, values below 2**32.

    Returns:
        uint64 array `(n, 4)`, values below 2**32.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW
        c2, c3 = (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=1)


def random_words(seed, n):
    """The first words that a seed gives.

    Args:
        seed: Pair of integers.
        n: Integer, number of words.

    Returns:
        uint64 array `(n,)`, values below 2**32.
    """
    halves = np.array(seed, np.int64).view(np.uint64)
    words = [w for s in halves for w in (s & _LOW, s >> _HALF)]
    mixed = _philox(_SCRAMBLE, [word[np.newaxis] for word in words])[0]
    blocks = np.arange(-(-n // 4), dtype=np.uint64)
    counter = [
        blocks,
        np.zeros_like(blocks),
        np.full_like(blocks, mixed[2]),
        np.full_like(blocks, mixed[3]),
    ]
    return _philox(mixed[:2], counter).reshape(-1)[:n]


def _stream(seed, epoch, stream):
    """The seed of `keras_ffl.data.augmentation.stream_seed`, two ints."""
    low, high = random_words((seed, epoch), 2)
    word = np.array([low | (high << _HALF)]).view(np.int64)
    return int(word[0]), stream


def epoch_order(seed, epoch, n):
    """The order of an epoch's examples.

    Args:
        seed: Integer.
        epoch: Integer.
        n: Integer, number of examples.

    Returns:
        int32 array `(n,)`.
    """
    # Fisher and Yates, from the front.
    words = random_words(_stream(seed, epoch, 0), n)
    partners = np.arange(n) + (words % np.arange(n, 0, -1).astype(np.uint64))
    order = list(range(n))
    for i, j in enumerate(partners.astype(np.int64).tolist()):
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int32)


def draw_epoch(seed, epoch, n, augmentation):
    """What happens to each of `n` examples in one epoch.

    Args:
        seed: Integer.
        epoch: Integer, the epoch's number.
        n: Integer, number of examples.
        augmentation: `Augmentation`.

    Returns:
        Dict of arrays as `keras_ffl.data.augmentation.draw_epoch` returns
        tensors.
    """

    def words(stream):
        return random_words(_stream(seed, epoch, stream), n)

    def whole(stream, maximum):
        return (words(stream) % np.uint64(maximum)).astype(np.int32)

    def part(stream):
        # The low 23 bits are the fraction of a number in [1, 2).
        bits = words(stream).astype(np.uint32) & np.uint32(0x7FFFFF)
        return (bits | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)

    offsets = 2 * augmentation.pad + 1
    draws = {
        "dy": whole(1, offsets),
        "dx": whole(2, offsets),
        "flip": whole(3, 2 if augmentation.flip else 1) == 1,
    }
    if augmentation.cutout:
        draws["cutout_y"], draws["cutout_x"] = part(4), part(5)
    return draws
