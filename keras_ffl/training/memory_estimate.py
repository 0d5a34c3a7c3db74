"""Estimates whether training fits into the free memory.

This is checked before anything is allocated, and only for configurations that
are far larger than the paper's.
"""

import math
import random

from keras_ffl import backend
from keras_ffl.errors import InputError
from keras_ffl.models.costs import ATTENTION, CONVOLUTIONS, DENSE
from keras_ffl.models.networks import build, find_architecture
from keras_ffl.optional import psutil

# The fields that make training large. Nothing is estimated up to these values,
# which none of the paper's recipes exceeds.
_ORDINARY = {
    "branches": 4,
    "fusion_filters": 1024,
    "batch_size": 1024,
    "image_size": 512,
}
_LARGE = (*CONVOLUTIONS, *DENSE, *ATTENTION)
# Bytes per weight and per layer output by dtype policy.
_BYTES = {
    "float64": (8, 8),
    "float32": (4, 4),
    "mixed_float16": (4, 2),
    "mixed_bfloat16": (4, 2),
}


def check_memory(config, info, images, processes=1):
    """Checks that the memory suffices for training.

    Args:
        config: `keras_ffl.config.Config`.
        info: `keras_ffl.data.DatasetInfo`.
        images: Int, number of training images.
        processes: Int, number of processes that share each batch.

    Raises:
        InputError: Training needs more than the free memory; the message names
            the field responsible.
    """
    values = _looked_at(config)
    large = [
        name
        for name, ordinary in _ORDINARY.items()
        if (values.get(name) or 0) > ordinary
    ]
    if not large:
        return
    free = psutil.virtual_memory().available

    def needed(**changes):
        return least_bytes(config.changed(**changes), info, images, processes)

    if needed() <= free:
        return
    enough = [n for n in large if needed(**{n: _ORDINARY[n]}) <= free]
    named = ", ".join(
        f"`{name}`={values[name]}" for name in enough[:1] or large
    )
    raise InputError(
        f"{named} needs at least an estimated {needed() / 1e9:,.0f} GB of "
        f"memory, and {free / 1e9:,.0f} GB are free: use less"
    )


def least_bytes(config, info, images, processes=1):
    """A lower bound of the memory that training needs.

    Each weight counts three times: itself, its gradient and its momentum. If
    networks teach each other, the outputs of all convolutions and of the
    activations after them are kept for the backward pass (measurements on a
    CPU showed 1.2 to 1.7 times as much), and so are those of the dense and
    attention layers of a transformer. Otherwise only those of one network
    count, since networks may be trained one after the other. Accelerators have
    their own memory for outputs.

    Args:
        config: `keras_ffl.config.Config`.
        info: `keras_ffl.data.DatasetInfo`.
        images: Int, number of training images.
        processes: Int, number of processes that share each batch.

    Returns:
        Int.
    """
    values, distils = _looked_at(config), config.row.distils
    shape = info.input_shape
    if info.central_crop:
        shape = (config.image_size, config.image_size, shape[-1])
    separate = values.get("separate_stages", 0)
    copies = values.get("branches", 1)
    weights, results, maps = 0, [], []
    for name in config.networks:
        own, trunk, features = _sizes(name, info.num_classes, shape, separate)
        trunks = 1 if separate else copies
        weights += own[0] * copies + trunk[0] * trunks
        results.append(own[1] * copies + trunk[1] * trunks)
        maps += [features] * copies
        if not distils:
            results[-1] = own[1] + trunk[1]
    results = sum(results) if distils else max(results)
    if filters := values.get("fusion_filters"):
        channels = sum(each[-1] for each in maps) + info.num_classes
        weights += channels * filters
        results += min(math.prod(each[:-1]) for each in maps) * filters
    of_weight, of_result = _BYTES[config.dtype_policy]
    batch = 0
    if not backend.has_accelerator():
        batch = min(config.batch_size, images) // processes
    return 3 * of_weight * weights + 2 * of_result * batch * results


def _looked_at(config):
    idle = config.idle()
    return {k: v for k, v in config.to_dict().items() if k not in idle}


def _sizes(name, num_classes, input_shape, separate_stages):
    """Numbers of a network's weights and of its large layers' output values.

    Returns:
        Tuple of a pair of int for a branch's own layers, one for the trunk
        before it, and the shape of the last feature map.
    """
    # This must not influence the weights that will be trained.
    state = random.getstate()
    if separate_stages:
        architecture = find_architecture(name)
        separate_stages = min(separate_stages, len(architecture.stages))
        (network,) = architecture.models(
            num_classes, input_shape, ["own_"], separate_stages
        )
    else:
        network = build(name, num_classes, input_shape)
    random.setstate(state)
    counts = {True: [0, 0], False: [0, 0]}
    for layer in network.layers:
        count = counts[layer.name.startswith("own_")]
        count[0] += sum(math.prod(w.shape) for w in layer.trainable_weights)
        if isinstance(layer, _LARGE) and len(layer.output.shape) > 2:
            count[1] += math.prod(layer.output.shape[1:])
    return counts[True], counts[False], network.output["features"].shape[1:]
