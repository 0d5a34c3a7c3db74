"""Recipes: the paper's, and small ones for a laptop.

Every preset's docstring states its command, its cost and the error to expect.
"""

from keras_ffl.config import Config, split
from keras_ffl.errors import InputError
from keras_ffl.imagenet_presets import (
    imagenet_resnet34_ffl,
    imagenet_resnet34_one,
    imagenet_resnet34_vanilla,
    imagenet_smoke,
)
from keras_ffl.methods import method_named
from keras_ffl.methods.rows import shared


def quickstart():
    """FFL of two ResNet-8 on the embedded digits.

    Command: `keras-ffl train --preset quickstart --workdir W`.
    Cost: about a minute on two CPU cores.
    Error: fused classifier about 0.5 % (docs/results.md).
    """
    return dict(
        dataset="digits",
        networks=("resnet8",),
        epochs=20,
        batch_size=64,
        lr_milestones=(12, 17),
        rampup_epochs=5,
        pad=2,
        padding="constant",
    )


def quickstart_vanilla():
    """The network of `quickstart` trained alone, for the same epochs.

    Command: `keras-ffl train --preset quickstart_vanilla --workdir W`.
    Cost: less than a minute on two CPU cores.
    Error: about 0.2 % (docs/results.md).
    """
    return quickstart() | dict(method="vanilla")


def cifar_small():
    """FFL of two ResNet-8 on CIFAR-100 in 20 epochs.

    Command: `keras-ffl train --preset cifar_small --workdir W`.
    Cost: about 35 minutes on one CPU core at 2.5 GHz.
    Error: fused classifier about 46 % (docs/results.md).
    """
    return dict(
        dataset="cifar100",
        networks=("resnet8",),
        epochs=20,
        lr_milestones=(10, 15),
        rampup_epochs=5,
    )


def cifar_small_vanilla():
    """The network of `cifar_small` trained alone, for the same epochs.

    Command: `keras-ffl train --preset cifar_small_vanilla --workdir W`.
    Cost: about 27 minutes on one CPU core at 2.5 GHz.
    Error: about 47 % (docs/results.md).
    """
    return cifar_small() | dict(method="vanilla")


def cifar_ffl():
    """The paper's recipe on CIFAR against ONE and DML: 300 epochs.

    Command: `keras-ffl train --preset cifar_ffl --workdir W`, with
    `--set networks=resnet56`, `--set networks=resnet32,wrn_16_2` or
    `--set branches=3` and `--dataset cifar10` for the paper's other rows.
    Cost: 4.2e15 multiply-adds for two ResNet-32 (derived: 92.3 M per forward
    pass, three times that per step); intended for an accelerator.
    Error: the paper's fused classifier of two ResNet-32 on CIFAR-100 has
    25.45 ± 0.28 % over 3 runs (Table VI).
    """
    return dict(dataset="cifar100", networks=("resnet32",))


def cifar_ffl_307():
    """The paper's recipe on CIFAR against DualNet: 307 epochs (Table I, II).

    Command: `keras-ffl train --preset cifar_ffl_307 --workdir W`.
    Cost: about that of `cifar_ffl`.
    Error: the paper's fused classifier of two ResNet-32 on CIFAR-100 has
    25.56 ± 0.32 %, its sub-networks 27.06 ± 0.34 %, over 10 runs.
    """
    return cifar_ffl() | dict(epochs=307, lr_milestones=(256,))


def cifar_vanilla():
    """One network alone by the recipe of `cifar_ffl`.

    Command: `keras-ffl train --preset cifar_vanilla --workdir W`.
    Cost: 3.1e15 multiply-adds for a ResNet-32 (derived: 69.1 M per forward
    pass).
    Error: the paper's text implies 30.96 % for ResNet-32 on CIFAR-100.
    """
    return cifar_ffl() | dict(method="vanilla")


def cifar_ensemble():
    """Two independent networks by the recipe of `cifar_ffl` (Table VI).

    Command: `keras-ffl train --preset cifar_ensemble --workdir W`.
    Cost: 6.2e15 multiply-adds for two ResNet-32 (derived: 138.3 M per forward
    pass).
    Error: the paper's two ResNet-32 on CIFAR-100 have 26.30 ± 0.35 %.
    """
    return cifar_ffl() | dict(method="ensemble")


def cifar_dualnet():
    """DualNet by the 307-epoch recipe (Table I).

    Command: `keras-ffl train --preset cifar_dualnet --workdir W`.
    Cost: 3.9e15 multiply-adds for two ResNet-32 (derived: 138.3 M per forward
    pass; one network's backward pass in the first 256 epochs, then none).
    Error: the paper's two ResNet-32 on CIFAR-100 have 27.49 ± 0.31 %, each
    alone 34.91 ± 1.23 %.
    """
    return cifar_ffl_307() | dict(method="dualnet")


def cifar_one():
    """ONE with three branches by the 300-epoch recipe (Table III).

    Command: `keras-ffl train --preset cifar_one --workdir W`.
    Cost: 5.1e15 multiply-adds for ResNet-32 (derived: 114.2 M per forward
    pass); intended for an accelerator.
    Error: the paper's ResNet-32 on CIFAR-100 have 26.94 ± 0.21 % (branches)
    and 25.19 ± 0.20 % (gated ensemble).
    """
    return cifar_ffl() | dict(method="one", branches=3)


def cifar_dml():
    """DML of ResNet-32 and WRN-16-2 by the 300-epoch recipe (Table V).

    Temperature and weight are those of DML's own paper, 1 and 1 throughout.

    Command: `keras-ffl train --preset cifar_dml --workdir W`.
    Cost: 9e15 multiply-adds (derived: 170 M for one forward pass of both; a
    step has one more of the first network than ordinary training).
    Error: the paper's networks on CIFAR-100 have 28.31 ± 0.28 % and
    26.45 ± 0.30 %.
    """
    return cifar_ffl() | dict(
        method="dml",
        networks=("resnet32", "wrn_16_2"),
    )


def cifar_pcl():
    """PCL of three branches by the 300-epoch recipe, for comparison.

    Its own paper has weight decay 5e-4: `--set weight_decay=5e-4`.

    Command: `keras-ffl train --preset cifar_pcl --workdir W`.
    Cost: 1.2e16 multiply-adds for ResNet-32 (derived: 207.4 M for a forward
    pass on three views, three times that per step, and one pass of the mean
    teachers); intended for an accelerator.
    Error: 25.86 ± 0.16 % for a deployed ResNet-32 on CIFAR-100 in PCL's
    paper, by its own recipe.
    """
    return cifar_ffl() | dict(method="pcl")


def cifar_ffsd():
    """FFSD of two students and a leader, all of `cifar_ffl`'s network.

    Its published recipe is that of `cifar_ffl`, with T = 2.

    Command: `keras-ffl train --preset cifar_ffsd --workdir W`.
    Cost: 9.4e15 multiply-adds for ResNet-32 (derived: 208.0 M per forward
    pass of the three and the fusion module).
    Error: 25.1 to 25.2 % of the leader for ResNet-32 on CIFAR-100 in the
    readme of https://github.com/SJLeo/FFSD, by its best test epoch and with
    the self-distillation that is left out here.
    """
    return cifar_ffl() | dict(method="ffsd")


def _with_cosine(recipe, error):
    """The preset `<name of recipe>_cosine`, with its error for the docs."""
    name = recipe.__name__

    def cosine():
        return recipe() | dict(lr_schedule="cosine", weight_decay=5e-4)

    cosine.__doc__ = f"""`{name}` by the recipe of later papers.

    The rate falls along a cosine, and the weight decay is 5e-4. A fusion
    module and a fused classifier keep their decay of 1e-5.

    Command: `keras-ffl train --preset {name}_cosine --workdir W`.
    Cost: that of `{name}`.
    Error: {error}.
    """
    return cosine


_COSINE = {
    cifar_vanilla: "29.1 % for ResNet-32 on CIFAR-100 in the readme of "
    "https://github.com/winycg/MCL, by its best test epoch",
    **dict.fromkeys(
        (cifar_ffl, cifar_ensemble, cifar_one, cifar_dml, cifar_ffsd),
        "not known; the recipe alone is worth about 1.9 points "
        "(`cifar_vanilla_cosine`)",
    ),
}
# Not DualNet: at the end of a cosine its joint training would hardly move.

PRESETS = {
    "quickstart": quickstart,
    "quickstart_vanilla": quickstart_vanilla,
    "cifar_small": cifar_small,
    "cifar_small_vanilla": cifar_small_vanilla,
    "cifar_ffl": cifar_ffl,
    "cifar_ffl_307": cifar_ffl_307,
    "cifar_vanilla": cifar_vanilla,
    "cifar_ensemble": cifar_ensemble,
    "cifar_dualnet": cifar_dualnet,
    "cifar_one": cifar_one,
    "cifar_dml": cifar_dml,
    "cifar_pcl": cifar_pcl,
    "cifar_ffsd": cifar_ffsd,
    **{
        f"{recipe.__name__}_cosine": _with_cosine(recipe, error)
        for recipe, error in _COSINE.items()
    },
    "imagenet_resnet34_ffl": imagenet_resnet34_ffl,
    "imagenet_resnet34_vanilla": imagenet_resnet34_vanilla,
    "imagenet_resnet34_one": imagenet_resnet34_one,
    "imagenet_smoke": imagenet_smoke,
}


def preset(name, **values):
    """Makes the configuration of a preset, with your own changes.

    The options in a recipe are FFL's. Another method uses those that it has
    with FFL's default, and its own defaults for all others.

    >>> preset("cifar_small", method="dml", epochs=40)

    Args:
        name: A key of `PRESETS`.
        **values: As in `keras_ffl.Config.changed`; they take precedence.

    Returns:
        `Config`.

    Raises:
        InputError: There is no such preset (the message lists the known
            ones), or as in `changed`.
    """
    if name not in PRESETS:
        raise InputError(
            f"unknown preset {name!r}; known presets: {', '.join(PRESETS)}"
        )
    fields, options = split(PRESETS[name]())
    fields["method"] = values.get("method", fields.get("method", "ffl"))
    row = method_named(fields["method"])
    options = shared(options, method_named("ffl"), row)
    return Config(preset=name, **fields, options=options).changed(**values)
