"""Ways to damage the files of a run's folder."""

import csv
import io
import json
import shutil

import numpy as np

_NUMBER = "9" * 10_000
_DEEP = "[" * 100_000
# Values in the place of a JSON value, as text that need not be JSON.
_VALUES = [
    *map(
        json.dumps,
        [
            None,
            "text",
            "",
            3,
            -1,
            2.5,
            True,
            10**400,
            [],
            {},
            [None],
            ["text"],
            [[1.0]],
            {"a": 1},
            {"vanilla": 1},
        ],
    ),
    "NaN",
    "Infinity",
    _NUMBER,
    _DEEP,
    "word",
]
_CONTENTS = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "bytes": b"\xff\xfe\x00\x9f" * 9,
    "deep": b'{"a":' * 100_000,
    "number": _NUMBER.encode(),
    "zip": b"PK\x05\x06" + bytes(18),
}


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _folder(path):
    _remove(path)
    path.mkdir()
    (path / "file").touch()


def _file(path):
    _remove(path)
    path.write_text("a file")


def _writes(change):
    """The function of a path that changes what the file holds."""

    def damage(path):
        path.write_bytes(change(path.read_bytes()))

    return damage


def any_file():
    """Damage to any file: dict from its name to a function of the path.

    The functions below return the same.
    """
    found = {"missing": _remove, "a folder": _folder}
    for name, content in _CONTENTS.items():
        found[name] = _writes(lambda old, content=content: content)
    found["cut in half"] = _writes(lambda old: old[: len(old) // 2])
    found["cut at the end"] = _writes(lambda old: old[:-9])
    found["a byte flipped"] = _writes(
        lambda old: (
            old[: len(old) // 2]
            + bytes([old[len(old) // 2] ^ 255])
            + old[len(old) // 2 + 1 :]
        )
    )
    found["twice"] = _writes(lambda old: old + old)
    return found


def any_folder():
    """Damage to any folder."""
    return {"missing": _remove, "a file": _file}


def text_file(path):
    """Damage to a text file, in addition to `any_file`."""
    return {
        encoding: _writes(
            lambda old, encoding=encoding: old.decode().encode(encoding)
        )
        for encoding in ("utf-16", "utf-8-sig", "utf-32", "cp037")
    }


def json_file(path):
    """Damage to each field of a JSON file."""
    fields = json.loads(path.read_text())
    found = {}

    def with_texts(texts):
        pairs = [f"{json.dumps(key)}: {text}" for key, text in texts.items()]
        return _writes(lambda old: f"{{{', '.join(pairs)}}}".encode())

    for name in fields:
        texts = {key: json.dumps(value) for key, value in fields.items()}
        for value in _VALUES:
            found[f"{name}={value[:20]}"] = with_texts(texts | {name: value})
        del texts[name]
        found[f"without {name}"] = with_texts(texts)
    return found | {"another field": with_texts({"unknown": "1"})}


def csv_file(path):
    """Damage to the cells, rows and columns of a table."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)

    def with_rows(header, rows):
        text = io.StringIO()
        csv.writer(text).writerows([header, *rows])
        return _writes(lambda old: text.getvalue().encode())

    found = {
        "the header alone": with_rows(header, []),
        "no header": with_rows(rows[0], rows[1:]),
        "a row twice": with_rows(header, [*rows, rows[-1]]),
        "the first row missing": with_rows(header, rows[1:]),
        "the last row missing": with_rows(header, rows[:-1]),
        "rows backwards": with_rows(header, rows[::-1]),
        "a row too much": with_rows(header, [*rows, ["7", *rows[-1][1:]]]),
        "columns swapped": with_rows(header[::-1], rows),
    }
    for number, name in enumerate(header):
        found[f"without {name}"] = with_rows(
            header[:number] + header[number + 1 :],
            [row[:number] + row[number + 1 :] for row in rows],
        )
    for name in ("epoch", header[1]):
        number = header.index(name)
        for value in ("word", "", "nan", "inf", "-1", "0.5", _NUMBER, "1\0"):
            first = rows[0][:number] + [value] + rows[0][number + 1 :]
            found[f"{name}={value[:9]!r}"] = with_rows(
                header, [first, *rows[1:]]
            )
    return found


def npz_file(path):
    """Damage to the arrays of a `.npz` file."""
    with np.load(path) as file:
        arrays = dict(file)

    def with_arrays(arrays):
        def damage(path):
            np.savez(path, **arrays)

        return damage

    found = {"no arrays": with_arrays({})}
    for name in (next(iter(arrays)), list(arrays)[-1]):
        others = {key: arrays[key] for key in arrays if key != name}
        found[f"without {name}"] = with_arrays(others)
        shape = arrays[name].shape
        for value in (
            np.zeros((7, 7)),
            np.full(shape, "text"),
            np.full(shape, None),
        ):
            kind = f"{name}={value.dtype}{value.shape}"
            found[kind] = with_arrays(others | {name: value})
    return found
