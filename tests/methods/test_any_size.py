"""Networks for images of any size, fused."""

import numpy as np
import pytest
from support.builders import assert_close, compiled, data, ffl, subnetwork

from keras_ffl.errors import InputError
from keras_ffl.layers import FeatureAverage
from keras_ffl.methods import DualNetModel

METHODS = {
    "ffl": ffl,
    "average": lambda networks: ffl(networks, fusion=FeatureAverage()),
    "dualnet": lambda networks: DualNetModel(networks, 1),
}
MESSAGE = (
    "networks for images of any size must give feature maps of one height "
    "and width"
)


def networks(strides, image=(None, None, 2)):
    return [
        subnetwork(image=image, strides=each, name=f"net_{k}")
        for k, each in enumerate(strides)
    ]


@pytest.mark.parametrize("run", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_that_differ(method, run):
    model = compiled(METHODS[method](networks((2, 4))))
    with pytest.raises(InputError, match=f"{MESSAGE}, got .4, 4., .2, 2."):
        getattr(model, run)(*data(image=(8, 8, 2)))


@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_one_pixel_is_not_repeated(method):
    model = METHODS[method](networks((1, 8)))
    with pytest.raises(InputError, match=f"{MESSAGE}, got .8, 8., .1, 1."):
        model(data(image=(8, 8, 2))[0])


@pytest.mark.parametrize("method", ["ffl", "dualnet"])
def test_batches_whose_size_is_unknown(method):
    tf = pytest.importorskip("tensorflow")
    x, y = data(image=(8, 8, 2))
    batches = tf.data.Dataset.from_generator(
        lambda: iter([(x, y)] * 9),
        output_signature=(
            tf.TensorSpec((None, None, None, 2)),
            tf.TensorSpec((None,), tf.int64),
        ),
    )
    options = {"steps_per_epoch": 1, "shuffle": False, "verbose": 0}
    model = compiled(METHODS[method](networks((1, 8))))
    with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
        model.fit(batches, **options)
    model = compiled(METHODS[method](networks((2, 2))))
    history = model.fit(batches, **options).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("method", METHODS)
def test_they_train_like_those_for_a_known_size(method):
    image = (8, 6, 2)
    models = [
        compiled(METHODS[method](networks((2, 2), shape)), run_eagerly=True)
        for shape in (image, (None, None, 2))
    ]
    models[1].set_weights(models[0].get_weights())
    x, y = data(image=image)
    losses = [model.train_on_batch(x, y) for model in models]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert_close(*(model.weights for model in models))
