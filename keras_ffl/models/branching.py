"""Sub-networks of one architecture that share their first stages."""

from keras_ffl.errors import InputError
from keras_ffl.layers.maps import is_features
from keras_ffl.models.graph import calls
from keras_ffl.models.networks import find_architecture
from keras_ffl.number_checks import check_int


def build_branches(
    name, branches, num_classes, input_shape=(32, 32, 3), separate_stages=1
):
    """Builds sub-networks of one architecture on a shared trunk (case 1).

    All sub-networks share the layers of the stem and the first stages; each
    branch has its own last `separate_stages` stages (including the final batch
    normalisation and ReLU of a wide residual network) and classifier. Each
    sub-network alone is the whole network of that name, with its weights in
    the same order.

    They form one graph on one image with unique layer names
    (`stem_conv`, `stage1_block1_conv1`, `branch2_stage3_block1_bn2`,
    `branch2_classifier`), so that a model over their outputs computes the
    trunk once:

    >>> first, second = build_branches("resnet32", 2, num_classes=100)
    >>> both = keras.Model(first.input, [first.output, second.output])

    Args:
        name: A key of `NETWORKS`.
        branches: Int n >= 2.
        num_classes: Int >= 1, m.
        input_shape: (height, width, channels), ints >= 1.
        separate_stages: Int from 1 to the number of stages (3 for the
            networks for small images, 4 for those for ImageNet), with which
            only the stem is shared. The paper uses 1 on CIFAR and 2 on
            ImageNet.

    Returns:
        List of n functional `keras.Model`s, named `<name>_branch<k>`, from
        float images (batch, height, width, channels) to `{"features":
        (batch, ..., C), "logits": (batch, m)}`.

    Raises:
        InputError: The name is unknown or an argument is out of range.

    Reference:
        Kim et al., 2019, "Feature Fusion for Online Mutual Knowledge
        Distillation", https://arxiv.org/abs/1904.09058, section III.
    """
    architecture = find_architecture(name)
    branches = check_int("branches", branches, least=2)
    separate_stages = check_int(
        "separate_stages", separate_stages, 1, len(architecture.stages)
    )
    return architecture.models(
        num_classes,
        input_shape,
        prefixes=[f"branch{k}_" for k in range(1, branches + 1)],
        separate_stages=separate_stages,
    )


def shared_feature_map(subnetworks):
    """The features at the end of the branches' trunk.

    Args:
        subnetworks: List of functional models that begin with the same
            layers on the same image.

    Returns:
        `keras.KerasTensor` (batch, h, w, C) or (batch, tokens, C), the last
        features that all models compute; (batch, C) if none of those have
        positions.

    Raises:
        InputError: The models have no common feature map.
    """
    first, *others = [
        {
            id(tensor): tensor
            for call in calls(network)
            for tensor in call.outputs
        }
        for network in subnetworks
    ]
    shared = [
        tensor
        for key, tensor in first.items()
        if is_features(tensor.shape) and all(key in other for other in others)
    ]
    # Vectors may also come from the side, as in squeeze and excitation.
    shared = [each for each in shared if len(each.shape) > 2] or shared
    if not shared:
        raise InputError(
            "`subnetworks` must be branches on a shared trunk, as "
            "keras_ffl.models.build_branches makes them, got "
            f"{', '.join(network.name for network in subnetworks)} without a "
            "common feature map"
        )
    return shared[-1]
