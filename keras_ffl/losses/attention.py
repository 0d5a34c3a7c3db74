"""Attention maps of features, and distances between them."""

from keras import ops

from keras_ffl.layers.maps import of_one_size
from keras_ffl.losses.distillation import full_precision


def attention_map(features):
    """Computes where features are large, normalised.

    `Â = A / ‖A‖` with A the mean of F² over the channels, a vector over all
    positions. Where all features are 0, so is Â.

    Args:
        features: Float tensor F (batch, h, w, channels) or (batch, tokens,
            channels).

    Returns:
        Float tensor Â (batch, positions) of norm 1, >= 0, in float32 for
        half-precision features.

    Reference:
        Zagoruyko & Komodakis, 2017, "Paying More Attention to Attention",
        https://arxiv.org/abs/1612.03928.
    """
    means = ops.mean(ops.square(full_precision(features)), axis=-1)
    means = ops.reshape(means, (ops.shape(means)[0], -1))
    squares = ops.sum(ops.square(means), axis=-1, keepdims=True)
    # The root of 0 has no gradient.
    return means * ops.rsqrt(ops.maximum(squares, 1e-24))


def shifted_attention(attention):
    """Moves attention away from where it is strongest.

    With t the ⌊P/3⌋-th smallest of the P values of an attention map (at least
    the smallest), a position p gets

        1 - Â_p  where Â_p > t,      Â_p elsewhere.

    The strongest positions become the weakest of the upper two thirds and the
    other way round; the lower third stays without attention.

    Args:
        attention: Float tensor Â (batch, P), as from `attention_map`.

    Returns:
        Float tensor (batch, P), not normalised.

    Reference:
        Li et al., 2022, https://arxiv.org/abs/2103.14473. Their code reflects
        about half the norm of A instead of half that of Â, which is 1, and
        gives positions with Â_p = t half of it.
    """
    place = ops.maximum(ops.shape(attention)[-1] // 3, 1) - 1
    # Of shape (batch, 1), also where the number of positions is unknown.
    threshold = ops.take(
        ops.sort(attention, axis=-1), ops.reshape(place, (1,)), axis=-1
    )
    return ops.where(attention > threshold, 1.0 - attention, attention)


def attention_distance(teacher, student, shift=False):
    """Computes `‖Â(student) - Â(teacher)‖²` of every sample.

    The teacher is a constant: no gradient flows to it.

    Args:
        teacher: Float tensor, features as `attention_map` takes them.
        student: Float tensor, features with as many positions.
        shift: Bool, whether the teacher's attention is shifted, see
            `shifted_attention`.

    Returns:
        Float tensor (batch,), the sum over the positions.
    """
    if len(teacher.shape) == len(student.shape):
        teacher, student = of_one_size([teacher, student], "attention_map")
    target = attention_map(ops.stop_gradient(teacher))
    if shift:
        target = shifted_attention(target)
    difference = attention_map(student) - target
    return ops.sum(ops.square(difference), axis=-1)
