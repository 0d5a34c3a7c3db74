"""Configuration of a run: one frozen dataclass."""

import dataclasses
import math
import typing

from keras_ffl.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides the result of a run.

    Attributes:
        preset: Name of the preset the configuration started from.
        method: Training method: "ffl", "vanilla", "ensemble", "dualnet",
            "one", "dml", "kd", or another key of
            `keras_ffl.builders.METHODS`, which also lists the options that a
            method has. The defaults here are FFL's, whatever the method;
            `keras_ffl.preset(name, method=...)` takes the method's own.
        dataset: Name of the data set, see `keras_ffl.data.load`.
        data_dir: Folder of tensorflow-datasets, or None for its default; of
            imagefolder the folder that holds train and val.
        image_size: Photos only: height and width of the prepared images.
        verify_images: Photos only: whether every file is decoded once when
            the run starts, and those that can't be are left out.
        strict: Whether such a file stops the run instead.
        holdout: Share of the training split in [0, 1) that is held out for
            validation; with 0 the test split is shown while training. The
            part is the same for every seed.
        networks: Names of the networks. One name makes `branches` of it,
            several names make one sub-network each (case 2). Vanilla and kd
            train one network; one and dualnet take one name.
        branches: Number of sub-networks if there is one name.
        separate_stages: Last stages that every branch of ffl and one has for
            itself if there is one name; 0 (ffl only) shares nothing.
        fusion: FFL: "module" or "average" (ablation B; `fusion_filters` and
            `fusion_width` have no meaning there).
        fusion_filters: Channels of the fused map, None for `fusion_width`.
        fusion_width: Channels of the fused map without `fusion_filters`:
            "min" for the smallest channel count of the networks, "sum" for
            the sum of all.
        temperature: T > 0 of ffl, one, dml and kd.
        rampup_epochs: Length R of their ramp-up in epochs, 0 for none.
        use_ekd: FFL: whether the ensemble teaches the fused classifier.
        use_fkd: FFL: whether the fused classifier teaches the sub-networks.
        joint_epochs: DualNet: how many of the last epochs are joint
            training; None for the paper's share, 51 of 307.
        joint_extractors: DualNet: whether joint training moves the
            extractors too.
        classifier_weight: DualNet: λ of the sub-networks' classifiers.
        simultaneous: DML: whether all networks are updated at once instead
            of one after the other.
        teacher: KD: workdir of the trained run that teaches.
        teacher_head: KD: the head that teaches, None for the run's main one.
        epochs: Number of epochs.
        batch_size: Images in one training batch.
        eval_batch_size: Images in one evaluation batch.
        learning_rate: Initial rate.
        lr_base_batch: Batch size that `learning_rate` is meant for: the rate
            is multiplied by `batch_size / lr_base_batch` (linear scaling).
            None for the rate as it is.
        warmup_epochs: Length of the warm-up, in which the rate grows from
            step to step.
        lr_schedule: "steps" or "cosine".
        lr_milestones: Epochs from which on the rate is multiplied by
            `lr_factor` (for "steps").
        lr_factor: Multiplier of the rate.
        momentum: Momentum in [0, 1].
        nesterov: Whether to use Nesterov's form.
        weight_decay: L2 decay of the networks.
        fusion_weight_decay: L2 decay of fusion module and fused classifier.
        global_clipnorm: Largest norm of the whole gradient, None for any.
        gradient_accumulation_steps: Batches in one update, None for one.
        pad: Pixels of padding before the random crop, 0 for no crop.
        padding: "reflect" or "constant" (zeros).
        flip: Whether to flip at random; None as the data set's recipe says.
        cutout: Side of the square that is cut out in pixels, 0 for none.
        randaugment: Magnitude of RandAugment in 0..10, 0 for none.
        mixup: Alpha of MixUp, 0 for none.
        cutmix: Alpha of CutMix, 0 for none.
        label_smoothing: Part of each training label that is spread over all
            classes, 0 for none.
        dtype_policy: Keras dtype policy, e.g. "mixed_bfloat16".
        synchronized_batch_norm: Whether batch norm takes the statistics of
            the global batch where there are several replicas.
        steps_per_execution: Training steps in one call of the compiled
            function; it must divide the steps of an epoch.
        seed: Seed of weights, order and augmentation.
        deterministic: Whether operations must be deterministic, so that a
            run repeats bit by bit.
        keep_checkpoints: How many of the last checkpoints stay.
    """

    preset: str = "quickstart"
    method: str = "ffl"
    dataset: str = "digits"
    data_dir: str | None = None
    image_size: int = 224
    verify_images: bool = False
    strict: bool = False
    holdout: float = 0.0
    networks: tuple[str, ...] = ("resnet8",)
    branches: int = 2
    separate_stages: int = 1
    fusion: str = "module"
    fusion_filters: int | None = None
    fusion_width: str = "min"
    temperature: float = 3.0
    rampup_epochs: float = 80
    use_ekd: bool = True
    use_fkd: bool = True
    joint_epochs: int | None = None
    joint_extractors: bool = False
    classifier_weight: float = 0.3
    simultaneous: bool = False
    teacher: str | None = None
    teacher_head: str | None = None
    epochs: int = 300
    batch_size: int = 128
    eval_batch_size: int = 100
    learning_rate: float = 0.1
    lr_base_batch: int | None = None
    warmup_epochs: float = 0.0
    lr_schedule: str = "steps"
    lr_milestones: tuple[int, ...] = (150, 225)
    lr_factor: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    fusion_weight_decay: float = 1e-5
    global_clipnorm: float | None = None
    gradient_accumulation_steps: int | None = None
    pad: int = 4
    padding: str = "reflect"
    flip: bool | None = None
    cutout: int = 0
    randaugment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    dtype_policy: str = "float32"
    synchronized_batch_norm: bool = False
    steps_per_execution: int = 1
    seed: int = 0
    deterministic: bool = False
    keep_checkpoints: int = 2

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _checked(field, value))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"`{name}` must be one of {', '.join(allowed)}, got "
                    f"{_shown(getattr(self, name))}"
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else [value]:
                if number is not None and not low <= number <= high:
                    raise InputError(
                        f"`{name}` must be between {low:g} and {high:g}, got "
                        f"{_shown(number)}"
                    )
        for name in _PATHS:
            if getattr(self, name) == "":
                raise InputError(f"`{name}` must be a path, got an empty one")
        if not self.networks:
            raise InputError("`networks` must name at least one network")

    def to_dict(self):
        """The configuration as a dict that JSON can hold."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values):
        """The configuration of a dict; the reverse of `to_dict`.

        Raises:
            InputError: A key is unknown or a value has the wrong type.
        """
        _check_keys(values)
        return cls(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
            }
        )

    def updated(self, assignments):
        """A copy with values replaced from text, as `--set` gives them.

        Args:
            assignments: List of `"key=value"`; tuples are comma-separated,
                None is written `none`.

        Returns:
            `Config`.

        Raises:
            InputError: As of `parse`, or a value is out of its range.
        """
        return dataclasses.replace(self, **self.parse(assignments))

    @staticmethod
    def parse(assignments):
        """Values from text.

        Args:
            assignments: As of `updated`.

        Returns:
            Dict from key to value.

        Raises:
            InputError: A key is unknown (the message lists the known ones)
                or a value has the wrong type.
        """
        values = {}
        for assignment in assignments:
            key, separator, text = assignment.partition("=")
            if not separator:
                raise InputError(f"`--set` takes key=value, got {assignment!r}")
            _check_keys([key])
            values[key] = _parse(key, text)
        return values


_CHOICES = {
    "fusion": ("module", "average"),
    "fusion_width": ("min", "sum"),
    "lr_schedule": ("steps", "cosine"),
    "padding": ("reflect", "constant"),
    "dtype_policy": ("float32", "float64", "mixed_float16", "mixed_bfloat16"),
}

_LARGE = 1e9
_RANGES = {
    "image_size": (8, 8192),
    "holdout": (0, 0.9),
    "branches": (1, 64),
    "separate_stages": (0, 64),
    "fusion_filters": (1, _LARGE),
    "temperature": (1e-3, 1e3),
    "rampup_epochs": (0, _LARGE),
    "joint_epochs": (0, _LARGE),
    "classifier_weight": (0, 1e3),
    "epochs": (1, _LARGE),
    "batch_size": (1, _LARGE),
    "eval_batch_size": (1, _LARGE),
    "learning_rate": (0, 1e3),
    "lr_base_batch": (1, _LARGE),
    "warmup_epochs": (0, _LARGE),
    "steps_per_execution": (1, _LARGE),
    "lr_milestones": (0, _LARGE),
    "lr_factor": (0, 1e3),
    "momentum": (0, 1),
    "weight_decay": (0, 1e3),
    "fusion_weight_decay": (0, 1e3),
    "global_clipnorm": (1e-9, _LARGE),
    "gradient_accumulation_steps": (2, _LARGE),
    "pad": (0, 1024),
    "cutout": (0, 1024),
    "randaugment": (0, 10),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "label_smoothing": (0, 0.99),
    "seed": (0, 2**31 - 1),
    "keep_checkpoints": (1, _LARGE),
}

_PATHS = ("data_dir", "teacher")

_TYPES = typing.get_type_hints(Config)


def _kinds(annotation):
    """The base types of an annotation: (type, is tuple, allows None)."""
    arguments = typing.get_args(annotation)
    if type(None) in arguments:
        inner = next(a for a in arguments if a is not type(None))
        return (*_kinds(inner)[:2], True)
    if typing.get_origin(annotation) is tuple:
        return arguments[0], True, False
    return annotation, False, False


def _matches(value, kind):
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _checked(field, value):
    """The value in its field's type.

    Raises:
        InputError: It is of another type.
    """
    kind, is_tuple, optional = _kinds(_TYPES[field.name])
    if value is None and optional:
        return None
    if is_tuple and isinstance(value, (tuple, list)):
        if all(_matches(item, kind) for item in value):
            return tuple(value)
    elif not is_tuple and _matches(value, kind):
        return _as_float(value) if kind is float else value
    expected = f"a tuple of {kind.__name__}" if is_tuple else kind.__name__
    raise InputError(
        f"`{field.name}` must be {expected}"
        f"{' or none' if optional else ''}, got {_shown(value)}"
    )


def _as_float(number):
    try:
        return float(number)
    except OverflowError:
        # An int, of which a range says whether it is allowed.
        return math.inf if number > 0 else -math.inf


def _shown(value):
    """A value for a message, cut off where it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python has a limit for the digits of a number.
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}..."


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _parse(key, text):
    kind, is_tuple, optional = _kinds(_TYPES[key])
    if optional and text.lower() == "none":
        return None
    try:
        if is_tuple:
            return tuple(kind(item) for item in text.split(",") if item)
        if kind is bool:
            return _BOOLEANS[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        expected = f"a comma-separated list of {kind.__name__}"
        raise InputError(
            f"`{key}` must be {expected if is_tuple else kind.__name__}, got "
            f"{_shown(text)}"
        ) from None


def _check_keys(keys):
    known = sorted(_TYPES)
    for key in keys:
        if key not in known:
            raise InputError(
                f"unknown configuration key {key!r}; known keys: "
                f"{', '.join(known)}"
            )
