"""The description of a data set."""

import dataclasses

from keras_ffl.errors import InputError


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The description of a data set: everything but its examples.

    Runs store it in their configuration. Exported models store it too, since
    they need the class names and the normalisation.

    Args:
        name: Str, the data set's name.
        num_classes: Int.
        input_shape: Tuple (height, width, channels); height and width are
            None for networks exported for images of any size.
        class_names: Tuple of `num_classes` strings.
        mean: Tuple of one float per channel, for pixels in 0..255.
        std: Tuple of one positive float per channel, for pixels in 0..255.
        flip: Bool, whether horizontal flips belong to its training recipe
            (a mirrored digit is not a digit).
        central_crop: Float in (0, 1]: encoded images are cropped to the
            square in their centre whose side is this fraction of the shorter
            side. None uses the whole image and ignores its aspect ratio.
        left_out: Tuple of the names of files that are left out because they
            can't be decoded.

    Raises:
        InputError: The fields contradict each other.
    """

    name: str
    num_classes: int
    input_shape: tuple
    class_names: tuple
    mean: tuple
    std: tuple
    flip: bool
    central_crop: float | None = None
    left_out: tuple = ()

    def __post_init__(self):
        for field in ("input_shape", "class_names", "mean", "std", "left_out"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        channels = self.input_shape[-1]
        lengths = {
            "input_shape": 3,
            "class_names": self.num_classes,
            "mean": channels,
            "std": channels,
        }
        for field, length in lengths.items():
            if len(getattr(self, field)) != length:
                raise InputError(
                    f"`{field}` of data set {self.name!r} must have {length} "
                    f"entries, got {len(getattr(self, field))}"
                )
        if min(self.std) <= 0:
            raise InputError(
                f"`std` of data set {self.name!r} must be positive, "
                f"got {self.std}"
            )

    def to_dict(self):
        """Returns the fields as a dict that JSON can hold."""
        return {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields):
        """Returns the `DatasetInfo` whose `to_dict` gave `fields`."""
        known = [field.name for field in dataclasses.fields(cls)]
        # Runs made before a field was added lack it.
        optional = {"central_crop", "left_out"}
        if not set(known) - optional <= set(fields) <= set(known):
            raise InputError(
                f"the fields of a data set's info must be {known}, "
                f"got {list(fields)}"
            )
        return cls(**fields)
