"""Vision transformers for small images."""

import functools

import keras

from keras_ffl.errors import InputError
from keras_ffl.models.architecture import Architecture
from keras_ffl.number_checks import check_int

STAGES = 3
EPSILON = 1e-6


def vit(
    num_classes,
    input_shape=(32, 32, 3),
    depth=12,
    width=192,
    heads=3,
    mlp_ratio=4,
    patch_size=4,
    name=None,
):
    """Vision transformer whose features are tokens, without a class token.

    The image is cut into square patches. Each becomes a token: a linear
    projection of its pixels plus a learned vector of its position. Then come
    `depth` blocks with layer normalisation before each of their two parts:
    multi-head self-attention, and a dense layer with GELU and one back to the
    width; each part is added to its input. After a last layer normalisation,
    the mean over all tokens goes to the classifier. There is no dropout.

    By default the sizes are those of ViT-Ti. ViT-Lite-6/4, for training on
    small data sets, is `vit(10, depth=6, width=256, heads=4, mlp_ratio=2)`.

    Args:
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1; height and width
            are multiples of `patch_size`.
        depth: Int >= 3, the number of blocks. For branches they form three
            stages, the first of which are one block longer if necessary.
        width: Int >= 1, a multiple of `heads`, the channels of a token.
        heads: Int >= 1, the number of attention heads.
        mlp_ratio: Int >= 1, the inner width of a block's dense layers as a
            multiple of `width`.
        patch_size: Int >= 1, height and width of a patch.
        name: Name of the model, by default `vit_<depth>_<width>_<patch_size>`.

    Returns:
        Functional `keras.Model` from float images (batch, height, width,
        channels) to `{"features": (batch, tokens, width), "logits": (batch,
        m)}`, where the tokens are the patches row by row. Both are
        unbounded; features come after the last layer normalisation and
        before the mean. The dtype is the policy's; logits are at least
        float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Dosovitskiy et al., 2021, "An Image is Worth 16x16 Words: Transformers
        for Image Recognition at Scale", https://arxiv.org/abs/2010.11929; the
        sizes of ViT-Ti from Touvron et al., 2021, "Training data-efficient
        image transformers & distillation through attention",
        https://arxiv.org/abs/2012.12877; those of ViT-Lite and patches of 4
        pixels for 32 x 32 images from Hassani et al., 2021, "Escaping the Big
        Data Paradigm with Compact Transformers",
        https://arxiv.org/abs/2104.05704.
    """
    architecture = vit_architecture(depth, width, heads, mlp_ratio, patch_size)
    return architecture(num_classes, input_shape, name)


def vit_architecture(
    depth=12, width=192, heads=3, mlp_ratio=4, patch_size=4, name=None
):
    """The `Architecture` of `vit`, with the same arguments."""
    depth = check_int("depth", depth, least=STAGES)
    width = check_int("width", width, least=1)
    heads = check_int("heads", heads, least=1)
    mlp_ratio = check_int("mlp_ratio", mlp_ratio, least=1)
    patch_size = check_int("patch_size", patch_size, least=1)
    if width % heads:
        raise InputError(
            f"`width` must be a multiple of `heads`={heads}, got {width}"
        )
    block = functools.partial(_block, heads=heads, inner=mlp_ratio * width)
    stages = [
        functools.partial(
            _stage, block=block, index=index, blocks=(depth + left) // STAGES
        )
        for index, left in enumerate(reversed(range(STAGES)), start=1)
    ]
    stages[-1] = functools.partial(_last_stage, stage=stages[-1])
    return Architecture(
        name or f"vit_{depth}_{width}_{patch_size}",
        functools.partial(_stem, width=width, size=patch_size),
        tuple(stages),
    )


def _stem(x, prefix, *, width, size):
    """The patches as tokens.

    A token's bias is the learned vector of its position, so that the stem
    needs no layer that Keras doesn't have.
    """
    _, height, breadth, channels = x.shape
    if height % size or breadth % size:
        raise InputError(
            "`input_shape` must have a height and width that are multiples of "
            f"the patch size {size}, got {tuple(x.shape[1:])}"
        )
    rows, columns = height // size, breadth // size
    values = size * channels
    layers = keras.layers
    name = f"{prefix}stem_patches"
    x = layers.Reshape((rows, size, columns, values), name=f"{name}_cut")(x)
    x = layers.Permute((1, 3, 2, 4), name=f"{name}_order")(x)
    x = layers.Reshape((rows * columns, size * values), name=name)(x)
    return layers.EinsumDense(
        "bnp,pc->bnc",
        (rows * columns, width),
        bias_axes="nc",
        bias_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        name=f"{prefix}stem_embedding",
    )(x)


def _stage(x, prefix, *, block, index, blocks):
    for number in range(1, blocks + 1):
        x = block(x, f"{prefix}stage{index}_block{number}")
    return x


def _last_stage(x, prefix, *, stage):
    return _norm(stage(x, prefix), f"{prefix}final_norm")


def _block(x, name, *, heads, inner):
    """Pre-norm transformer block."""
    layers = keras.layers
    width = x.shape[-1]
    y = _norm(x, f"{name}_norm1")
    attention = layers.MultiHeadAttention(
        heads, width // heads, name=f"{name}_attention"
    )
    x = layers.Add(name=f"{name}_add1")([x, attention(y, y)])
    y = _norm(x, f"{name}_norm2")
    y = layers.Dense(inner, activation="gelu", name=f"{name}_dense1")(y)
    y = layers.Dense(width, name=f"{name}_dense2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


def _norm(x, name):
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)
