import keras
import pytest


@pytest.fixture(scope="session")
def run():
    """Function of a model and images that gives its outputs as NumPy arrays.

    Without compiling: for one call that is faster than `predict`.
    """

    def outputs(model, images):
        tensors = model(images, training=False)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, tensors)

    return outputs
