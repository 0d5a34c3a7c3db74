"""The configuration of a run: a frozen dataclass."""

import dataclasses

from keras_ffl.errors import InputError
from keras_ffl.fields import Fields, field, shown
from keras_ffl.methods import METHODS, method_named
from keras_ffl.methods.rows import Options, shared
from keras_ffl.models.networks import find_network

# Fields that only matter for data sets of photos.
_OF_PHOTOS = ("image_size", "verify_images")


@dataclasses.dataclass(frozen=True)
class Config(Fields):
    """Everything that determines the result of a run.

    Attributes:
        preset: Name of the preset that the configuration is based on, or
            None.
        method: Training method: "ffl", "vanilla", "ensemble", "dualnet",
            "one", "dml", "kd", "pcl", "ffsd", or another key of
            `keras_ffl.methods.METHODS`.
        options: The method's options, of the class `options` in its row of
            that table, or a dict of some of them; None for its defaults.
        dataset: Name of the data set, see `keras_ffl.data.load`.
        data_dir: Folder of tensorflow-datasets, or None for its default; for
            imagefolder the folder that holds train and val; for npz the file,
            which CIFAR and Fashion-MNIST take too.
        image_size: Photos only: height and width of the prepared images.
        verify_images: Photos only: "skip" decodes every file once when the
            run starts and leaves out those that can't be decoded, "stop" ends
            the run instead, "no" decodes files when they are needed and ends
            the run at one that can't be decoded.
        holdout: Fraction of the training split in [0, 1) that is held out for
            validation; 0 validates on the test split. The held-out images are
            the same for every seed.
        networks: Names of the networks, keys of `keras_ffl.models.NETWORKS`.
            Methods with several networks make `branches` of one name, or one
            network of each of several names.
        epochs: Number of epochs.
        batch_size: Images per training batch.
        eval_batch_size: Images per evaluation batch.
        learning_rate: Initial rate.
        lr_base_batch: Batch size that `learning_rate` is meant for: the rate
            is multiplied by `batch_size / lr_base_batch` (linear scaling).
            None doesn't scale it.
        warmup_epochs: Length of the warm-up, in which the rate grows step by
            step.
        lr_schedule: "steps" or "cosine".
        lr_milestones: Epochs at which the rate is multiplied by `lr_factor`
            (for "steps").
        lr_factor: Multiplier of the rate.
        momentum: Momentum in [0, 1].
        nesterov: Whether to use Nesterov's form.
        weight_decay: L2 decay of the networks.
        global_clipnorm: Maximum norm of the whole gradient, None for no limit.
        gradient_accumulation_steps: Batches per update, None for one.
        pad: Pixels of padding before the random crop, 0 for no crop.
        padding: "reflect" or "constant" (zeros).
        flip: Whether to flip at random; None follows the data set's recipe.
        cutout: Side in pixels of the square that is cut out, 0 for none.
        randaugment: Magnitude of RandAugment in 0..10, 0 for none.
        mixup: Alpha of MixUp, 0 for none.
        cutmix: Alpha of CutMix, 0 for none.
        label_smoothing: Fraction of each training label that is spread over
            all classes, 0 for none.
        dtype_policy: Keras dtype policy, e.g. "mixed_bfloat16".
        synchronized_batch_norm: Whether batch norm uses the statistics of the
            global batch with several replicas.
        steps_per_execution: Training steps per call of the compiled function;
            it must divide the steps of an epoch.
        seed: Seed of weights, order and augmentation.
        deterministic: Whether operations must be deterministic, so that runs
            are bitwise reproducible.
        keep_checkpoints: Number of the latest checkpoints to keep.

    Raises:
        InputError: A value has the wrong type or is out of range, the method
            is unknown, or it doesn't have one of the `options`.
    """

    preset: str | None = field(None)
    method: str = field("ffl")
    options: Options | dict | None = None
    dataset: str = field("digits")
    data_dir: str | None = field(None, path=True)
    image_size: int = field(224, 8, 8192)
    verify_images: str = field("no", choices=("no", "skip", "stop"))
    holdout: float = field(0.0, 0, 0.9)
    networks: tuple[str, ...] = field(("resnet8",))
    epochs: int = field(300, 1)
    batch_size: int = field(128, 1)
    eval_batch_size: int = field(100, 1)
    learning_rate: float = field(0.1, 0, 1e3)
    lr_base_batch: int | None = field(None, 1)
    warmup_epochs: float = field(0.0, 0)
    lr_schedule: str = field("steps", choices=("steps", "cosine"))
    lr_milestones: tuple[int, ...] = field((150, 225), 0)
    lr_factor: float = field(0.1, 0, 1e3)
    momentum: float = field(0.9, 0, 1)
    nesterov: bool = field(True)
    weight_decay: float = field(1e-4, 0, 1e3)
    global_clipnorm: float | None = field(None, 1e-9)
    gradient_accumulation_steps: int | None = field(None, 2)
    pad: int = field(4, 0, 1024)
    padding: str = field("reflect", choices=("reflect", "constant"))
    flip: bool | None = field(None)
    cutout: int = field(0, 0, 1024)
    randaugment: float = field(0.0, 0, 10)
    mixup: float = field(0.0, 0, 100)
    cutmix: float = field(0.0, 0, 100)
    label_smoothing: float = field(0.0, 0, 0.99)
    dtype_policy: str = field(
        "float32",
        choices=("float32", "float64", "mixed_float16", "mixed_bfloat16"),
    )
    synchronized_batch_norm: bool = field(False)
    steps_per_execution: int = field(1, 1)
    seed: int = field(0, 0, 2**31 - 1)
    deterministic: bool = field(False)
    keep_checkpoints: int = field(2, 1)

    def __post_init__(self):
        super().__post_init__()
        if not self.networks:
            raise InputError("`networks` must name at least one network")
        own = self.row.options
        given = {} if self.options is None else self.options
        if isinstance(given, dict):
            for name, value in given.items():
                if name not in own.names():
                    raise self._without_meaning(name, value)
            object.__setattr__(self, "options", own(**given))
        elif type(given) is not own:
            raise InputError(
                f"`options` of method {self.method} must be {own.__name__} or "
                f"a dict, got {shown(given)}"
            )

    @property
    def row(self):
        """The method's row, a `keras_ffl.methods.rows.Method`."""
        return method_named(self.method)

    def check(self):
        """Checks that the method can train with this configuration.

        It uses nothing else, so that a bad configuration is found before any
        data is read.

        Raises:
            InputError: The method can't train with it.
        """
        for name in self.networks:
            find_network(name, "networks")
        self.options.check(self.method, self)

    def idle(self):
        """The fields and options that other values make irrelevant.

        Returns:
            Dict from name to the reason, a clause such as "where
            `lr_schedule` is cosine".
        """
        reasons = dict(self.options.idle(self.networks))
        if self.lr_schedule == "cosine":
            cosine = "where `lr_schedule` is cosine"
            reasons |= dict.fromkeys(("lr_milestones", "lr_factor"), cosine)
        elif not self.lr_milestones:
            reasons["lr_factor"] = "where `lr_milestones` is empty"
        if not self.momentum:
            reasons["nesterov"] = "where `momentum` is 0"
        if not self.pad:
            reasons["padding"] = "where `pad` is 0"
        photos = self.dataset in ("imagefolder", "imagenet2012")
        elsewhere = ("pad", "padding") if photos else _OF_PHOTOS
        if self.dataset == "digits":
            elsewhere += ("data_dir",)
        data = f"for images of `dataset` {self.dataset}"
        return reasons | dict.fromkeys(elsewhere, data)

    def beyond_the_end(self):
        """What the last epoch comes too early for.

        Returns:
            List of sentences, empty for most configurations.
        """
        found = []
        epochs = f"`epochs` {self.epochs}"
        milestones = self.lr_milestones if self.lr_schedule == "steps" else ()
        if min(milestones, default=0) >= self.epochs:
            found.append(
                "the learning rate stays the same: `lr_milestones` "
                f"{', '.join(map(str, milestones))} lie beyond {epochs}"
            )
        ends = {"warmup_epochs": "the full learning rate"}
        if "rampup_epochs" not in self.idle():
            ends["rampup_epochs"] = "the full weight of distillation"
        for name, what in ends.items():
            length = getattr(self, name, getattr(self.options, name, 0))
            if length > self.epochs:
                found.append(
                    f"training ends before {what}: `{name}` {length:g} is "
                    f"longer than {epochs}"
                )
        return found

    def changed(self, **values):
        """Returns a copy with changed values.

        A new method keeps the options that both methods have with the same
        default, and uses its own defaults for all others.

        Args:
            **values: Fields of this class, except `options`, and options of
                the method.

        Returns:
            `Config`.

        Raises:
            InputError: As in the class, a name is unknown (the message lists
                the known ones), or a value is irrelevant given the others.
        """
        fields, options = split(values)
        kept = vars(self.options)
        if fields.get("method", self.method) != self.method:
            kept = shared(kept, self.row, method_named(fields["method"]))
        config = dataclasses.replace(self, **fields, options=kept | options)
        reasons = config.idle()
        for name, value in values.items():
            if name in reasons:
                raise InputError(
                    f"`{name}` has no meaning {reasons[name]}, got {value!r}"
                )
        return config

    def with_data_dir(self, data_dir):
        """The configuration with data that have moved; itself for None.

        Raises:
            InputError: The data set, such as digits, has no folder.
        """
        return self.changed(data_dir=data_dir) if data_dir else self

    def _without_meaning(self, name, value):
        own = ", ".join(self.row.options.names()) or "none"
        return InputError(
            f"`{name}` has no meaning for method {self.method} (its options: "
            f"{own}), got {shown(value)}"
        )

    # ----- text ----------------------------------------------------------

    def to_dict(self):
        """The configuration as a flat, JSON-compatible dict."""
        values = {name: getattr(self, name) for name in self.names()}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in (values | vars(self.options)).items()
        }

    @classmethod
    def from_dict(cls, values):
        """Makes a configuration from a dict; the inverse of `to_dict`.

        Raises:
            InputError: A key is unknown or a value has the wrong type.
        """
        fields, options = split(values)
        return cls(**fields, options=options)

    @staticmethod
    def read(assignments, method=None):
        """Reads values from text, in the form of `--set`.

        Args:
            assignments: List of `"key=value"`; tuples are comma-separated,
                None is written `none`.
            method: Name of the method, None for that of the assignments.

        Returns:
            Dict from key to value, for `changed`.

        Raises:
            InputError: A key is unknown (the message lists the known ones)
                or has two values, or a value has the wrong type.
        """
        texts = {}
        for assignment in assignments:
            key, separator, text = assignment.partition("=")
            if not separator:
                raise InputError(f"`--set` takes key=value, got {assignment!r}")
            if texts.setdefault(key, text) != text:
                raise InputError(
                    f"`{key}` is given twice: --set {key}={texts[key]} and "
                    f"--set {key}={text}"
                )
        return {
            key: _home(key, texts.get("method", method)).parse(key, text)
            for key, text in texts.items()
        }


def _home(name, method=None):
    """The class with a field: `Config` or the options of a method.

    Args:
        name: Name of the field.
        method: Name of the method whose options take precedence, or None.

    Raises:
        InputError: No class has the field.
    """
    rows = sorted(METHODS.items(), key=lambda item: item[0] != method)
    homes = [Config, *(row.options for _, row in rows)]
    for home in homes:
        if name in home.names():
            return home
    known = sorted({name for home in homes for name in home.names()})
    raise InputError(
        f"unknown configuration key {name!r}; known keys: {', '.join(known)}"
    )


def split(values):
    """Splits flat values into fields of `Config` and options of methods.

    Args:
        values: Dict.

    Returns:
        Tuple of two dicts.

    Raises:
        InputError: A key is unknown.
    """
    parts = {}, {}
    for name, value in values.items():
        parts[_home(name) is not Config][name] = value
    return parts
