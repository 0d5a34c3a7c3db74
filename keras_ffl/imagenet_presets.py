"""The recipes on ImageNet, see `keras_ffl.presets`."""


def imagenet_resnet34_ffl():
    """FFL of two ResNet-34 on ImageNet, the paper's recipe (Table IV).

    Command: `keras-ffl train --preset imagenet_resnet34_ffl
    --workdir W`; `--dataset imagefolder --data_dir D` reads a folder instead
    of tensorflow-datasets. docs/scaling.md has the launch on several devices.
    Cost: derived in docs/scaling.md; intended for several accelerators.
    Error: the paper's fused classifier has 23.91 % top-1 and 7.17 % top-5,
    its sub-networks 25.58 % and 7.95 %.
    """
    return dict(
        dataset="imagenet2012",
        networks=("imagenet_resnet34",),
        separate_stages=2,
        fusion_width="sum",
        epochs=90,
        batch_size=256,
        lr_milestones=(30, 60),
        rampup_epochs=20,
    )


def imagenet_resnet34_vanilla():
    """One ResNet-34 alone by the recipe of `imagenet_resnet34_ffl`.

    Command: `keras-ffl train --preset imagenet_resnet34_vanilla
    --workdir W`.
    Cost: 3.7e9 multiply-adds for the forward pass of an image (derived).
    Error: the paper's has 26.69 % top-1 and 8.58 % top-5.
    """
    return imagenet_resnet34_ffl() | dict(method="vanilla")


def imagenet_resnet34_one():
    """ONE with two ResNet-34 by the recipe of `imagenet_resnet34_ffl`.

    Command: `keras-ffl train --preset imagenet_resnet34_one
    --workdir W`.
    Cost: about that of `imagenet_resnet34_ffl`.
    Error: the paper's branches have 25.61 % top-1 and 7.96 % top-5, the gated
    teacher 24.48 % and 7.31 %.
    """
    return imagenet_resnet34_ffl() | dict(method="one")


def imagenet_smoke():
    """The whole ImageNet pipeline on a small folder of photos.

    Command: `keras-ffl train --preset imagenet_smoke --data_dir D
    --workdir W` with `D/train/<class>/*.JPEG` and `D/val/<class>/*.JPEG`.
    Cost: about ten minutes on two CPU cores for 600 photos.
    Error: no target; the loss falls below half its initial value.
    """
    return imagenet_resnet34_ffl() | dict(
        dataset="imagefolder",
        image_size=64,
        networks=("imagenet_resnet18",),
        epochs=24,
        batch_size=32,
        learning_rate=0.02,
        lr_milestones=(18,),
        rampup_epochs=5,
    )
