"""What exported files make of images of other shapes, and of none."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import builders

from keras_ffl import data, export

IMAGE = (4, 4, 3)


def info_of(shape=IMAGE):
    channels = shape[-1]
    return data.DatasetInfo(
        "toy",
        3,
        shape,
        tuple("abc"),
        (120.0,) * channels,
        (60.0,) * channels,
        True,
    )


def images_of(*shape):
    random = np.random.default_rng(0)
    return random.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return builders.moved(builders.METHODS["ffl"](image=IMAGE))


@pytest.fixture(scope="module")
def any_size():
    """A network for images of any size."""
    subs = builders.separate(image=(None, None, 3))
    return builders.moved(builders.ffl(subs))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fused"
    export.export_head(model, "fused", info_of(), path)
    return tf.saved_model.load(path)


def expected(model, images, info=info_of()):
    logits = model.classifier("fused")(data.normalize(images, info))
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


OTHERS = {
    "no batch axis": IMAGE,
    "another axis": (1, 1, *IMAGE),
    "one pixel": (1, 1, 1, 3),
    "larger": (1, 8, 8, 3),
    "channels first": (1, 3, 4, 4),
    "grey": (1, 4, 4, 1),
}


@pytest.mark.parametrize("shape", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["serving_default", "serving_probabilities"])
def test_signatures_refuse_other_shapes(name, shape, saved):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        saved.signatures[name](images=tf.constant(images_of(*shape)))


@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_encoded_images_are_a_vector(shape, saved):
    code = tf.io.encode_png(images_of(*IMAGE))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        saved.signatures["serving_encoded"](encoded=tf.reshape(code, shape))


def test_no_image_has_no_answer(saved):
    none = tf.zeros((0, *IMAGE), tf.uint8)
    codes = tf.constant([], tf.string)
    for answer in (
        saved.signatures["serving_default"](images=none),
        saved.signatures["serving_encoded"](encoded=codes),
    ):
        assert answer["probabilities"].shape == (0, 3)
        assert answer["class_index"].shape == answer["class_name"].shape == (0,)


def test_probabilities_can_be_compiled(saved, model):
    signature = saved.signatures["serving_probabilities"]
    compiled = tf.function(lambda x: signature(images=x), jit_compile=True)
    for count in (5, 1, 0):
        images = images_of(count, *IMAGE)
        answer = compiled(tf.constant(images))
        assert list(answer) == ["probabilities"]
        assert answer["probabilities"].shape == (count, 3)
        if count:
            np.testing.assert_allclose(
                answer["probabilities"], expected(model, images), atol=2e-5
            )


def test_images_that_are_no_picture_have_no_encoded_signature(tmp_path):
    model = builders.METHODS["vanilla"](image=(4, 4, 2))
    info = info_of((4, 4, 2))
    export.export_head(model, "vanilla", info, tmp_path / "out")
    assert set(tf.saved_model.load(tmp_path / "out").signatures) == {
        "serving_default",
        "serving_probabilities",
    }


# ----- the other formats ----------------------------------------------------


def runner(path):
    """A function of images that runs a file as its runtime offers to."""
    if path.suffix == ".keras":
        return keras.models.load_model(path).predict_on_batch
    if path.suffix == ".tflite":
        runtime = importlib.import_module("ai_edge_litert.interpreter")
        runner = runtime.Interpreter(str(path)).get_signature_runner()
        return lambda images: runner(images=images)["probabilities"]
    session = importlib.import_module("onnxruntime").InferenceSession(path)
    return lambda images: session.run(None, {"images": images})[0]


def written(model, info, name, folder):
    found = export.FORMATS[name]
    for module in (*found.writer, *found.reader):
        pytest.importorskip(module)
    images = images_of(20, *IMAGE)
    return export.write_head(model, "fused", info, folder, name, images)


@pytest.mark.parametrize("name", ["keras", "litert", "litert_int8", "onnx"])
def test_files_refuse_other_shapes(name, model, tmp_path):
    run = runner(written(model, info_of(), name, tmp_path))
    # Keras' `predict` leaves the shape to the graph after a second one.
    for count in (2, 3):
        images = images_of(count, *IMAGE)
        np.testing.assert_allclose(
            run(images),
            expected(model, images),
            atol=2e-5 if export.FORMATS[name].exact else 0.25,
        )
    for other, shape in OTHERS.items():
        if (name, other) == ("keras", "channels first"):
            continue  # As many values; the graph can't tell.
        with pytest.raises(Exception):
            run(images_of(*shape))
    if name != "keras":  # Keras' own `predict` takes no empty batch.
        assert run(images_of(0, *IMAGE)).shape == (0, 3)


# ----- images of any size ---------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            # Ten seconds each.
            marks=[pytest.mark.slow] * (name in ("saved_model", "keras")),
        )
        for name in export.FORMATS
    ],
)
def test_a_network_for_any_size(name, any_size, tmp_path):
    info = info_of((None, None, 3))
    path = written(any_size, info, name, tmp_path)
    for shape in (IMAGE, (5, 7, 3)):
        (row,) = export.verify(
            any_size,
            info,
            {name: {"fused": path}},
            images_of(6, *shape),
            np.zeros(6, int),
        )
        assert row["largest_difference"] < (
            2e-5 if export.FORMATS[name].exact else 0.25
        )


def test_signatures_for_any_size(any_size, tmp_path):
    info = info_of((None, None, 3))
    export.export_head(any_size, "fused", info, tmp_path / "any")
    signatures = tf.saved_model.load(tmp_path / "any").signatures
    sizes = [(4, 4, 3), (5, 7, 3)]
    images = [images_of(*size) for size in sizes]
    # One batch of several sizes, each image as it is alone.
    codes = tf.stack([tf.io.encode_png(image) for image in images])
    answer = signatures["serving_encoded"](encoded=codes)
    for k, image in enumerate(images):
        np.testing.assert_allclose(
            answer["probabilities"][k],
            expected(any_size, image[None], info)[0],
            atol=2e-5,
        )
    for name in ("serving_default", "serving_probabilities"):
        for shape in (IMAGE, (1, 4, 4, 1), (1, 3, 4, 4)):
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="not compatible"
            ):
                signatures[name](images=tf.constant(images_of(*shape)))
    # With a data set that has a size, files are resized to it.
    export.export_head(any_size, "fused", info_of(), tmp_path / "sized")
    sized = tf.saved_model.load(tmp_path / "sized").signatures
    resized = tf.image.resize(images[1], IMAGE[:2], antialias=True)
    np.testing.assert_allclose(
        sized["serving_encoded"](encoded=codes[1:])["probabilities"],
        expected(any_size, np.rint(resized)[None]),
        atol=2e-5,
    )
