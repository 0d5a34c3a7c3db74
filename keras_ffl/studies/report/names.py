"""Class names for people in place of those of a data set."""

import pathlib

from keras_ffl.errors import InputError


def readable_names(info, path=None):
    """The class names to print.

    Args:
        info: `keras_ffl.data.DatasetInfo`.
        path: Path of a text file that has in each line a class name of the
            data set, a space and what to print for it, as ImageNet's
            `LOC_synset_mapping.txt` has it; or None.

    Returns:
        List of str, in the order of the classes; those that are not in the
        file keep their names.

    Raises:
        InputError: The file can't be read or holds none of the names.
    """
    if path is None:
        return list(info.class_names)
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"`class_names`: {path} can't be read: {reason}"
        ) from error
    words = [line.split(maxsplit=1) for line in lines]
    printed = {pair[0]: pair[1].strip() for pair in words if len(pair) == 2}
    if not set(printed) & set(info.class_names):
        raise InputError(
            f"`class_names`: {path} must hold lines of a class name and what "
            f"to print for it, got none for {info.class_names[0]} or another "
            "class"
        )
    return [printed.get(name, name) for name in info.class_names]


def class_number(name, info, names):
    """The number of a class that a user names.

    Args:
        name: Str, a class name of the data set, what is printed for it, or
            its number; or None.
        info: `keras_ffl.data.DatasetInfo`.
        names: List of str, what is printed for the classes.

    Returns:
        Int, or None for None.

    Raises:
        InputError: There is no such class.
    """
    if name is None:
        return None
    for known in (info.class_names, names, range(info.num_classes)):
        texts = [str(each) for each in known]
        if name in texts:
            return texts.index(name)
    some = ", ".join(info.class_names[:5])
    more = ", ..." if info.num_classes > 5 else ""
    raise InputError(
        f"`class` must be a class of {info.name} ({some}{more}) or a number "
        f"in 0..{info.num_classes - 1}, got {name!r}"
    )
