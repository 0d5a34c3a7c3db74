"""Small photos on disk, and what a decoder independent of TensorFlow sees."""

import io
import os

import numpy as np
from PIL import Image


def smooth(height, width, seed=0):
    """A colourful image without fine detail, which JPEG hardly changes."""
    random = np.random.default_rng(seed)
    small = random.integers(30, 226, (4, 5, 3), dtype="uint8")
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def encoded(image, kind="JPEG", **options):
    """The bytes of an image; JPEG of high quality without subsampling."""
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_folder(root, train=(3, 3), val=(2, 2), size=(24, 32)):
    """Writes `<root>/{train,val}/<class>/<number>.jpg`.

    The classes are called b0, b1, ...; the photos differ from each other.
    """
    number = 0
    for split, counts in (("train", train), ("val", val)):
        for label, count in enumerate(counts):
            folder = root / split / f"b{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                number += 1
                image = smooth(*size, seed=number)
                (folder / f"{i}.jpg").write_bytes(encoded(image))
    return root


def rename_without_utf8(root):
    """Renames class b1 and the first photo of b0 to names in Latin-1.

    Args:
        root: Folder as of `make_folder`.
    """
    for split in ("train", "val"):
        folder = os.fsencode(root / split)
        os.rename(folder + b"/b1", folder + b"/caf\xe9")
        os.rename(folder + b"/b0/0.jpg", folder + b"/b0/\xff\xfe.jpg")


def box_resized(image, box, size):
    """The box of an image, resized bilinearly to a square, by NumPy."""
    top, left, height, width = box
    part = np.asarray(image, "float64")[top : top + height, left : left + width]

    def matrix(source):
        places = (np.arange(size) + 0.5) * source / size - 0.5
        lower = np.floor(places).astype(int)
        weights = np.zeros((size, source))
        for step, weight in ((0, 1 - (places - lower)), (1, places - lower)):
            column = np.clip(lower + step, 0, source - 1)
            np.add.at(weights, (np.arange(size), column), weight)
        return weights

    return np.einsum("ih,hwc,jw->ijc", matrix(height), part, matrix(width))
