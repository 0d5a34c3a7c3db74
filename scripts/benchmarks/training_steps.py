"""Training steps to measure, and their contenders."""

from benchmarks.common import Contender, has_torch

PYTORCH = ("contiguous", "channels_last", "compiled")


def pair(names, separate_stages=0, classes=100, image_size=32, batch=128):
    """The contenders' options for a pair of networks, a dict."""
    return {
        "names": list(names),
        "separate_stages": separate_stages,
        "classes": classes,
        "image_size": image_size,
        "batch": batch,
    }


RESNET32 = pair(["resnet32"] * 2, separate_stages=1)
VANILLA = pair(["resnet32"])
FFL_PAIRS = {
    "ResNet-8": pair(["resnet8"] * 2, separate_stages=1),
    "ResNet-32": RESNET32,
}


def pytorch_contenders(options, variants=PYTORCH):
    """The variants of the PyTorch opponent, none without the extra."""
    if not has_torch():
        return []
    return [
        Contender(
            f"pytorch {variant}",
            "benchmarks.contenders:pytorch",
            {**options, "variant": variant},
            imports=("torch",),
        )
        for variant in variants
    ]


def keras_contenders(options, jit=(False, True)):
    """The same model in stock Keras layers, with and without XLA."""
    return [
        Contender(
            f"stock Keras{', XLA' if jit_compile else ''}",
            "benchmarks.contenders:stock_keras",
            {**options, "jit_compile": jit_compile},
            imports=("keras",),
        )
        for jit_compile in jit
    ]


def ours_contender(name, options, method="ffl", function="ours"):
    """A training method of keras_ffl; `function` names a contender."""
    return Contender(
        name,
        f"benchmarks.contenders:{function}",
        {**options, "method": method},
        imports=("keras_ffl",),
    )
