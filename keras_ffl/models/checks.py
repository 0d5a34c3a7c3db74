"""Checks of the arguments that all builders share."""

from keras_ffl.errors import InputError
from keras_ffl.number_checks import is_int


def check_depth(depth, step, offset):
    """The blocks per stage of a network with `step * n + offset` layers."""
    if (
        not is_int(depth)
        or depth < step + offset
        or (depth - offset) % step != 0
    ):
        examples = ", ".join(str(step * n + offset) for n in (1, 2, 3))
        raise InputError(
            f"`depth` must be {step}n+{offset} with n >= 1 ({examples}, ...), "
            f"got {depth!r}"
        )
    return (int(depth) - offset) // step


def check_image_shape(input_shape):
    """Returns `input_shape` as a tuple of three int >= 1, or raises."""
    if (
        not isinstance(input_shape, (tuple, list))
        or len(input_shape) != 3
        or not all(is_int(size) and size >= 1 for size in input_shape)
    ):
        raise InputError(
            "`input_shape` must be (height, width, channels), three ints "
            f">= 1, got {input_shape!r}"
        )
    return tuple(int(size) for size in input_shape)
