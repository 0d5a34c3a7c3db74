"""The parts of a batch: images, labels and optional weights."""

import keras
import numpy as np

from keras_ffl.errors import InputError
from keras_ffl.labels import dtype_name, known_shape, shape_of_labels


def unpacked(batch, check_kind, heads):
    """Unpacks a batch and checks the types, ranks and widths of its parts.

    Args:
        batch: `(images, labels)` or `(images, labels, sample_weight)`, a tuple
            or list of arrays, tensors or their specifications.
        check_kind: Function of the labels that raises `InputError` for another
            type, rank or width.
        heads: Names of the heads.

    Returns:
        Tuple of images, labels and weights (None if there are none).

    Raises:
        InputError: The batch is empty or has another structure, or labels or
            weights have another type, rank or width.
    """
    x, y, sample_weight = parts_of(batch)
    leaves = keras.tree.flatten(x)
    if len(leaves) == 1:
        # A model's one input may come in a dict or a list.
        x = leaves[0]
    y = _one_tensor(y, heads, "y")
    check_kind(y)
    images, labels = _rows((*leaves, None)[0]), _rows(y)
    if images == 0:
        raise InputError(
            f"a batch must have at least one image, got {described(batch)}"
        )
    if None not in (images, labels) and images != labels:
        raise InputError(
            f"a batch must have a label for each image, got {described(batch)}"
        )
    if sample_weight is not None:
        sample_weight = _one_tensor(sample_weight, heads, "sample_weight")
        _check_weights_kind(sample_weight, labels)
    return x, y, sample_weight


def parts_of(batch, argument="a batch"):
    """Splits a batch into images, labels and weights, without other checks.

    Args:
        batch: `(images, labels)` or `(images, labels, sample_weight)`.
        argument: Name of the batch for the message.

    Returns:
        Tuple of the three; the weights are None if there are none.

    Raises:
        InputError: The batch has another structure or no labels.
    """
    parts = tuple(batch) if isinstance(batch, (list, tuple)) else ()
    if len(parts) not in (2, 3) or parts[1] is None:
        raise InputError(
            f"{argument} must be `(images, labels)` or `(images, labels, "
            f"sample_weight)`, got {described(batch)}"
        )
    return (*parts, None)[:3]


def checked_arrays(y, sample_weight, check_values, heads, argument="y"):
    """Checks labels and weights in arrays, including their values.

    Args:
        y: Labels: an array, a list of numbers, or the very same array for
            each head, in a dict or list.
        sample_weight: Weights (n,) or (n, 1) in the same forms, or None. They
            must be finite; negative ones are accepted, as in Keras.
        check_values: Function of the labels and the name of their argument
            that raises `InputError` for invalid ones.
        heads: Names of the heads.
        argument: Name of the argument that held the labels.

    Returns:
        Tuple of labels and weights, each one array (or None).

    Raises:
        InputError: They have another form, or a value is invalid.
    """
    y = _one_tensor(_of_numbers(y), heads, argument)
    check_values(y, argument)
    if sample_weight is not None:
        sample_weight = _of_numbers(sample_weight)
        sample_weight = _one_tensor(sample_weight, heads, "sample_weight")
        _check_weights_kind(sample_weight, _rows(y))
        weights = np.asarray(sample_weight).reshape(-1)
        off = np.nonzero(~np.isfinite(weights))[0]
        if off.size:
            raise InputError(
                "`sample_weight` must be finite, got "
                f"{weights[off[0]]} at index {off[0]}"
            )
        if len(known_shape(sample_weight)) > 1:
            # Steps are traced for one rank.
            sample_weight = weights
    return y, sample_weight


def holds_views(x, image_shape):
    """Whether images come as several views of each.

    Args:
        x: Image batch, a tensor or its specification.
        image_shape: Shape of a batch of single images, a tuple.
    """
    x = (*keras.tree.flatten(x), None)[0]
    shape = known_shape(x) if hasattr(x, "shape") else None
    return shape is not None and len(shape) == len(image_shape) + 1


def check_images(x, image, views):
    """Checks the type of images and the number of views of each.

    Args:
        x: Image batch, a tensor or its specification.
        image: `keras.KerasTensor`, the model's input.
        views: Int, the number that the method takes, 0 for none.

    Raises:
        InputError: The batch holds another number of views, or floats for
            networks that take integers, to which Keras would truncate them.
    """
    image_shape = image.shape
    given = dtype_name(getattr((*keras.tree.flatten(x), None)[0], "dtype", ""))
    if "int" in image.dtype and "float" in given:
        raise InputError(
            f"`x` must be integers for networks whose input is {image.dtype}, "
            f"got {given}; networks of normalised images need a float input"
        )
    if not views:
        check_single_images(x, image_shape)
    elif holds_views(x, image_shape):
        count = known_shape(keras.tree.flatten(x)[0])[1]
        if count != views:
            raise InputError(
                f"`x` must be images {_shape_text(image_shape)} or {views} "
                "views of each, one for each network, "
                f"{_shape_text(image_shape, views)}, got {described(x)}"
            )


def check_single_images(x, image_shape):
    """Raises `InputError` if a batch holds several views of each image."""
    if holds_views(x, image_shape):
        raise InputError(
            f"`x` must be images {_shape_text(image_shape)}; several views of "
            "each are for training with methods that take them, got "
            f"{described(x)}"
        )


def _shape_text(image_shape, *views):
    sizes = ("batch", *views, *image_shape[1:])
    return f"({', '.join(map(str, sizes))})"


def described(value):
    """A short description of a structure of tensors."""
    if isinstance(value, dict):
        parts = [f"{key!r}: {described(part)}" for key, part in value.items()]
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, (list, tuple)):
        parts = [described(part) for part in value[:5]]
        return f"({', '.join(parts + ['...'] * (len(value) > 5))})"
    if not _is_dense(value):
        return "None" if value is None else type(value).__name__
    shape = known_shape(value)
    rank = "of unknown rank" if shape is None else shape
    return f"{dtype_name(value.dtype)} {rank}"


def _is_dense(value):
    """Whether `value` is an array, a tensor or a specification of one."""
    # TensorFlow's sparse and ragged tensors are recognised by their class, a
    # keras.KerasTensor by an attribute.
    return (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and not type(value).__name__.startswith(("Sparse", "Ragged"))
        and not getattr(value, "sparse", False)
        and not getattr(value, "ragged", False)
    )


def _one_tensor(values, heads, argument):
    """The single tensor of labels or weights that all heads share."""
    parts = [values]
    if isinstance(values, dict) and set(values) <= set(heads):
        parts = list(values.values())
    elif isinstance(values, (list, tuple)):
        parts = list(values)
    if parts and all(part is parts[0] for part in parts):
        if _is_dense(parts[0]):
            return parts[0]
    raise InputError(
        f"`{argument}` must be one tensor, given once for all heads "
        f"({', '.join(heads)}), got {described(values)}"
    )


def _of_numbers(values):
    """Converts a list of numbers, or anything array-like, to an array."""
    numbers = isinstance(values, (list, tuple)) and not any(
        isinstance(part, dict) or hasattr(part, "shape") and len(part.shape)
        for part in values
    )
    if not numbers and hasattr(values, "dtype"):
        return values
    if numbers or hasattr(values, "__array__"):
        try:
            return np.asarray(values)
        except ValueError:
            pass
    return values


def _check_weights_kind(sample_weight, count):
    """Raises `InputError` unless there is a number for each sample."""
    dtype = dtype_name(sample_weight.dtype)
    shape = shape_of_labels(sample_weight, "sample_weight")
    if not dtype.startswith(("int", "uint", "float", "bfloat", "bool")):
        raise InputError(
            f"`sample_weight` must hold numbers, got dtype {dtype}"
        )
    if (
        not shape
        or shape[1:] not in ((), (1,))
        or (None not in (shape[0], count) and shape[0] != count)
    ):
        expected = "n" if count is None else count
        raise InputError(
            f"`sample_weight` must be a number for each sample ({expected},), "
            f"got {described(sample_weight)}"
        )


def _rows(tensor):
    """Number of rows, None if unknown."""
    shape = known_shape(tensor) if hasattr(tensor, "shape") else None
    return shape[0] if shape else None
