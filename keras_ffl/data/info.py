"""The description of a data set."""

import dataclasses
import re

from keras_ffl.errors import InputError
from keras_ffl.fields import Fields, field


@dataclasses.dataclass(frozen=True)
class DatasetInfo(Fields):
    """The description of a data set: everything but its examples.

    Runs store it in their configuration. Exported models store it too, since
    they need the class names and the normalisation.

    Args:
        name: Str, the data set's name.
        num_classes: Int.
        input_shape: Tuple (height, width, channels); height and width are
            None for networks exported for images of any size.
        class_names: Tuple of `num_classes` strings without line breaks and
            bytes that aren't UTF-8.
        mean: Tuple of one float per channel, for pixels in 0..255.
        std: Tuple of one positive float per channel, for pixels in 0..255.
        flip: Bool, whether horizontal flips belong to its training recipe
            (a mirrored digit is not a digit).
        central_crop: Float in (0, 1]: encoded images are cropped to the
            square in their centre whose side is this fraction of the shorter
            side. None uses the whole image and ignores its aspect ratio, as
            images without 3 channels must.
        antialias: Bool, whether whole images are resized with antialiasing,
            which `keras.utils.image_dataset_from_directory` doesn't do.
        left_out: Tuple of the names of files that are left out because they
            can't be decoded.
        num_train: Int, number of the training images, or None if unknown.
        num_test: Int, number of the test images, or None if unknown.

    Raises:
        InputError: A field is of the wrong type or out of its range, or the
            fields contradict each other.
    """

    name: str = field()
    num_classes: int = field(least=1)
    input_shape: tuple[int | None, ...] = field(least=1)
    class_names: tuple[str, ...] = field()
    mean: tuple[float, ...] = field(least=-1e9)
    std: tuple[float, ...] = field(least=0)
    flip: bool = field()
    central_crop: float | None = field(None, 0, 1)
    left_out: tuple[str, ...] = field(())
    num_train: int | None = field(None, 1)
    num_test: int | None = field(None, 0)
    antialias: bool = field(True)

    def __post_init__(self):
        super().__post_init__()
        channels = (None, *self.input_shape)[-1]
        lengths = {
            "input_shape": 3,
            "class_names": self.num_classes,
            "mean": channels,
            "std": channels,
        }
        for name, length in lengths.items():
            if len(getattr(self, name)) != length:
                raise InputError(
                    f"`{name}` of data set {self.name!r} must have {length} "
                    f"entries, got {len(getattr(self, name))}"
                )
        for name in self.class_names:
            if "\n" in name or re.search("[\ud800-\udfff]", name):
                raise InputError(
                    f"`class_names` of data set {self.name!r} must have no "
                    "line breaks and no bytes that aren't UTF-8, got "
                    f"{name!r}"
                )
        if self.central_crop == 0:
            raise InputError(
                f"`central_crop` of data set {self.name!r} must be in (0, 1] "
                "or None, got 0"
            )
        if self.central_crop and channels != 3:
            raise InputError(
                f"`central_crop` of data set {self.name!r} must be None for "
                f"images of {channels} channels instead of 3, got "
                f"{self.central_crop}"
            )
        if min(self.std) <= 0:
            raise InputError(
                f"`std` of data set {self.name!r} must be positive, "
                f"got {self.std}"
            )

    def to_dict(self):
        """Returns the fields as a dict that JSON can hold."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, fields):
        """Returns the `DatasetInfo` whose `to_dict` gave `fields`."""
        known = cls.names()
        # Runs made before a field was added lack it.
        optional = {
            "central_crop",
            "left_out",
            "num_train",
            "num_test",
            "antialias",
        }
        if not set(known) - optional <= set(fields) <= set(known):
            raise InputError(
                f"the fields of a data set's info must be {known}, "
                f"got {list(fields)}"
            )
        return cls(**fields)
