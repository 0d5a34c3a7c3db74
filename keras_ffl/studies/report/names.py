"""Readable class names that replace those of a data set."""

import pathlib

from keras_ffl.errors import InputError


def readable_names(info, path=None):
    """Reads the class names to print.

    Args:
        info: `keras_ffl.data.DatasetInfo`.
        path: Path of a text file whose lines have a class name of the data
            set, a space and the name to print, like ImageNet's
            `LOC_synset_mapping.txt`; or None.

    Returns:
        List of str, in the order of the classes; classes that aren't in the
        file keep their names.

    Raises:
        InputError: The file can't be read or has none of the names.
    """
    if path is None:
        return list(info.class_names)
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise InputError(
            f"`class_names`: {path} can't be read: {reason}"
        ) from error
    # The longest first: one name may begin with another.
    by_length = sorted(info.class_names, key=len, reverse=True)
    printed = {}
    for line in map(str.strip, lines):
        for name in by_length:
            rest = line[len(name) :]
            if line.startswith(name) and rest[:1].strip() == "":
                if rest.strip():
                    printed[name] = rest.strip()
                break
    if not printed:
        raise InputError(
            f"`class_names`: {path} must hold lines of a class name and the "
            f"name to print, got none for {info.class_names[0]} or another "
            "class"
        )
    return [printed.get(name, name) for name in info.class_names]


def class_number(name, info, names):
    """Finds the number of a class that the user names.

    Args:
        name: Str, a class name of the data set, its printed name or its
            number; or None.
        info: `keras_ffl.data.DatasetInfo`.
        names: List of str, the printed names of the classes.

    Returns:
        Int; None if `name` is None.

    Raises:
        InputError: There is no such class, or several are printed so.
    """
    if name is None:
        return None
    for known in (info.class_names, names, range(info.num_classes)):
        texts = [str(each) for each in known]
        if texts.count(name) > 1:
            same = [c for c, t in zip(info.class_names, texts) if t == name]
            raise InputError(
                f"`class` must name one class, got {name!r}, the name of "
                f"{', '.join(same)}"
            )
        if name in texts:
            return texts.index(name)
    some = ", ".join(info.class_names[:5])
    more = ", ..." if info.num_classes > 5 else ""
    raise InputError(
        f"`class` must be a class of {info.name} ({some}{more}) or a number "
        f"in 0..{info.num_classes - 1}, got {name!r}"
    )
